/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The CMOS clock: an MC146818 with 128 bytes of memory, an index port and a data port after it. Source:
 * Motorola MC146818 data sheet; the century byte is where the FADT says (RTC_CENTURY).
 *
 * The time is the host's CLOCK_REALTIME in UTC plus what the guest set it off by, whole seconds: the
 * fraction stays the host's. A write that leaves no valid date keeps the clock as it was. While SET is
 * on, the time bytes are memory, and they become the time when it is cleared. UIP is on for the 244 us
 * before each second (data sheet, "Update cycle"), so a driver waits that long at most.
 *
 * Update-ended, alarm and periodic flags are worked out from the clock when register C is read, so that
 * polling works with and without a loop. Interrupts need the loop. After an interrupt the timer rests
 * until the guest reads register C, and periodic interrupts come at most RTC_PERIODIC_MAX_HZ times a
 * second, whatever rate is programmed: the host's cost is bounded by what the guest acknowledges.
 *
 * Ownership: storage is the caller's and outlives the vCPUs. Threads: registers on any vCPU thread; the
 * timer on the loop's thread; rtc_release() when no vCPU runs, on the loop's thread or while nobody
 * runs it. `lock` is a leaf but for the interrupt line and loop_post().
 */
#ifndef LKVM_RTC_H
#define LKVM_RTC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/err.h>
#include <lkvm/irq.h>
#include <lkvm/loop.h>

#define RTC_PORTS           2
#define RTC_CMOS_LEN        128
#define RTC_CENTURY         0x32 /* the CMOS byte that the FADT's CENTURY field names */
#define RTC_PERIODIC_MAX_HZ 64

struct rtc {
	struct bus_region region;
	struct bus *pio;
	struct loop *loop; /* NULL: flags only, no interrupts */
	struct loop_timer timer;
	struct loop_post rearm;
	uint64_t (*now_ns)(void); /* CLOCK_REALTIME; a test may replace it after rtc_init() */

	pthread_mutex_t lock; /* everything below */
	struct irq_line irq;
	uint8_t index; /* < RTC_CMOS_LEN */
	uint8_t cmos[RTC_CMOS_LEN];
	int64_t offset_s; /* guest's time less the host's */
	int64_t seen_s;   /* guest's second up to which update and alarm flags are worked out */
	uint64_t seen_ns; /* host's time up to which the periodic flag is */
};

/* Claims [port, port + 2). ERR_INTERNAL when the ports are taken. `loop` may be NULL. */
int rtc_init(struct rtc *rtc, struct bus *pio, uint16_t port, struct kvm *kvm, uint32_t gsi,
	     struct loop *loop, struct err *err);
void rtc_release(struct rtc *rtc);

#endif
