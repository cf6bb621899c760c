/* SPDX-License-Identifier: GPL-2.0 */
#include <time.h>

#include <lkvm/rtc.h>
#include <lkvm/util.h>

/* CMOS bytes (data sheet, figure "Address map"). */
enum {
	REG_SEC = 0,
	REG_SEC_ALARM = 1,
	REG_MIN = 2,
	REG_MIN_ALARM = 3,
	REG_HOUR = 4,
	REG_HOUR_ALARM = 5,
	REG_WDAY = 6,
	REG_MDAY = 7,
	REG_MONTH = 8,
	REG_YEAR = 9,
	REG_A = 10,
	REG_B = 11,
	REG_C = 12,
	REG_D = 13,
};

#define A_UIP     0x80
#define A_DV      0x70
#define A_DV_RUN  0x20 /* 32.768 kHz time base; other values stop or mistune the chain */
#define A_RS      0x0f

#define B_24H     0x02
#define B_BINARY  0x04
#define B_UIE     0x10
#define B_AIE     0x20
#define B_PIE     0x40
#define B_SET     0x80

#define C_UF      0x10 /* flags sit where their enable bits do */
#define C_AF      0x20
#define C_PF      0x40
#define C_IRQF    0x80

#define D_VRT     0x80 /* battery good */

#define HOUR_PM   0x80
#define ALARM_ANY 0xc0 /* both top bits on: any value matches */
#define UIP_NS    244000u
#define DAY_S     86400
/* The host's clock may be stepped while the timer sleeps: it looks again this often. */
#define SLEEP_MAX_NS (60 * NSEC_PER_SEC)
#define NEVER        UINT64_MAX

static uint64_t host_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int64_t guest_s_locked(const struct rtc *rtc, uint64_t now_ns)
{
	return (int64_t)(now_ns / NSEC_PER_SEC) + rtc->offset_s;
}

/* The host's time at which the guest's second `s` begins. */
static uint64_t host_ns_locked(const struct rtc *rtc, int64_t s)
{
	return (uint64_t)(s - rtc->offset_s) * NSEC_PER_SEC;
}

static bool running_locked(const struct rtc *rtc)
{
	return (rtc->cmos[REG_A] & A_DV) == A_DV_RUN && !(rtc->cmos[REG_B] & B_SET);
}

static uint8_t encode_locked(const struct rtc *rtc, int v)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return (uint8_t)v;
	return (uint8_t)(v / 10 << 4 | v % 10);
}

/* Returns -1 for what is no number in the current mode. */
static int decode_locked(const struct rtc *rtc, uint8_t v)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return v;
	return (v >> 4) > 9 || (v & 0xf) > 9 ? -1 : (v >> 4) * 10 + (v & 0xf);
}

static uint8_t encode_hour_locked(const struct rtc *rtc, int hour)
{
	if (rtc->cmos[REG_B] & B_24H)
		return encode_locked(rtc, hour);
	return encode_locked(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

/* Returns -1 for no number or no hour of the 12-hour clock. */
static int decode_hour_locked(const struct rtc *rtc, uint8_t v)
{
	if (rtc->cmos[REG_B] & B_24H)
		return decode_locked(rtc, v);
	int hour = decode_locked(rtc, v & ~HOUR_PM);
	if (hour < 1 || hour > 12)
		return -1;
	return hour % 12 + (v & HOUR_PM ? 12 : 0);
}

/* Writes the time bytes. While SET is on they are the guest's. */
static void refresh_locked(struct rtc *rtc)
{
	time_t t = (time_t)guest_s_locked(rtc, rtc->now_ns());
	struct tm tm;

	if ((rtc->cmos[REG_B] & B_SET) || !gmtime_r(&t, &tm))
		return;
	int year = MAX(tm.tm_year + 1900, 0); /* the host's clock may be stepped back */
	rtc->cmos[REG_SEC] = encode_locked(rtc, tm.tm_sec);
	rtc->cmos[REG_MIN] = encode_locked(rtc, tm.tm_min);
	rtc->cmos[REG_HOUR] = encode_hour_locked(rtc, tm.tm_hour);
	rtc->cmos[REG_WDAY] = encode_locked(rtc, tm.tm_wday + 1);
	rtc->cmos[REG_MDAY] = encode_locked(rtc, tm.tm_mday);
	rtc->cmos[REG_MONTH] = encode_locked(rtc, tm.tm_mon + 1);
	rtc->cmos[REG_YEAR] = encode_locked(rtc, year % 100);
	rtc->cmos[RTC_CENTURY] = encode_locked(rtc, year / 100 % 100);
}

/* Makes the time bytes the time, if they are one. The day of the week follows from the date. */
static void take_time_locked(struct rtc *rtc)
{
	int century = decode_locked(rtc, rtc->cmos[RTC_CENTURY]);
	int year = decode_locked(rtc, rtc->cmos[REG_YEAR]);
	struct tm tm = {
		.tm_sec = decode_locked(rtc, rtc->cmos[REG_SEC]),
		.tm_min = decode_locked(rtc, rtc->cmos[REG_MIN]),
		.tm_hour = decode_hour_locked(rtc, rtc->cmos[REG_HOUR]),
		.tm_mday = decode_locked(rtc, rtc->cmos[REG_MDAY]),
		.tm_mon = decode_locked(rtc, rtc->cmos[REG_MONTH]) - 1,
		.tm_year = century * 100 + year - 1900,
	};
	struct tm norm = tm;

	if (century < 0 || century > 99 || year < 0 || year > 99)
		return;
	time_t t = timegm(&norm);
	/*
	 * timegm() carries what is out of range, a 31st of April too: only a date that it keeps is one.
	 * Seconds carry into the minutes and hours into the day, so these three tell.
	 */
	if (norm.tm_min != tm.tm_min || norm.tm_mday != tm.tm_mday || norm.tm_mon != tm.tm_mon)
		return;
	rtc->offset_s = (int64_t)t - (int64_t)(rtc->now_ns() / NSEC_PER_SEC);
}

static bool alarm_matches(int alarm, int value)
{
	return alarm < 0 || alarm == value;
}

/*
 * The first second after `from` that matches the alarm, or INT64_MAX. Steps over whole hours and
 * minutes that do not match, so it takes at most one step for each hour, minute and second of a day.
 */
static int64_t next_alarm_locked(const struct rtc *rtc, int64_t from)
{
	uint8_t hb = rtc->cmos[REG_HOUR_ALARM], mb = rtc->cmos[REG_MIN_ALARM];
	uint8_t sb = rtc->cmos[REG_SEC_ALARM];
	int h = hb >= ALARM_ANY ? -1 : decode_hour_locked(rtc, hb);
	int m = mb >= ALARM_ANY ? -1 : decode_locked(rtc, mb);
	int s = sb >= ALARM_ANY ? -1 : decode_locked(rtc, sb);
	int64_t t = from + 1;

	/* A value that is no time, unlike "any", never matches. */
	if ((h < 0 && hb < ALARM_ANY) || (m < 0 && mb < ALARM_ANY) || (s < 0 && sb < ALARM_ANY))
		return INT64_MAX;
	for (int step = 0; step < 24 + 60 + 60; step++) {
		int64_t day = (t % DAY_S + DAY_S) % DAY_S;

		if (!alarm_matches(h, (int)(day / 3600)))
			t += 3600 - day % 3600;
		else if (!alarm_matches(m, (int)(day / 60 % 60)))
			t += 60 - day % 60;
		else if (!alarm_matches(s, (int)(day % 60)))
			t++;
		else
			return t;
	}
	return INT64_MAX;
}

/* 0: no periodic interrupt. Rates 1 and 2 are those of 8 and 9 with this time base. */
static uint64_t period_ns_locked(const struct rtc *rtc)
{
	unsigned int rs = rtc->cmos[REG_A] & A_RS;

	if (!rs)
		return 0;
	if (rs < 3)
		rs += 7;
	return (NSEC_PER_SEC << (rs - 1)) / 32768;
}

/* Brings the flags of register C up to `now`, and the line with them. */
static void advance_locked(struct rtc *rtc, uint64_t now)
{
	int64_t s = guest_s_locked(rtc, now);
	uint64_t period = period_ns_locked(rtc);
	uint8_t *c = &rtc->cmos[REG_C];

	if (running_locked(rtc) && s > rtc->seen_s) {
		*c |= C_UF;
		if (next_alarm_locked(rtc, rtc->seen_s) <= s)
			*c |= C_AF;
	}
	if (running_locked(rtc) && period && now / period > rtc->seen_ns / period)
		*c |= C_PF;
	rtc->seen_s = s;
	rtc->seen_ns = now;
	if (*c & rtc->cmos[REG_B] & (C_UF | C_AF | C_PF))
		*c |= C_IRQF;
	else
		*c &= ~C_IRQF;
	irq_line_set(&rtc->irq, *c & C_IRQF);
}

/* The host's time of the next interrupt, NEVER when none is due or one waits to be acknowledged. */
static uint64_t next_event_locked(const struct rtc *rtc, uint64_t now)
{
	uint8_t b = rtc->cmos[REG_B];
	uint64_t at = NEVER, period = period_ns_locked(rtc);

	if (!running_locked(rtc) || (rtc->cmos[REG_C] & C_IRQF))
		return NEVER;
	if (b & B_UIE)
		at = host_ns_locked(rtc, rtc->seen_s + 1);
	if (b & B_AIE) {
		int64_t s = next_alarm_locked(rtc, rtc->seen_s);
		if (s != INT64_MAX)
			at = MIN(at, host_ns_locked(rtc, s));
	}
	if ((b & B_PIE) && period) {
		uint64_t step = MAX(period, NSEC_PER_SEC / RTC_PERIODIC_MAX_HZ);
		at = MIN(at, (now / step + 1) * step);
	}
	return at;
}

/* On the loop's thread. */
static void schedule(struct rtc *rtc)
{
	pthread_mutex_lock(&rtc->lock);
	uint64_t now = rtc->now_ns();
	advance_locked(rtc, now);
	uint64_t at = next_event_locked(rtc, now);
	pthread_mutex_unlock(&rtc->lock);

	if (at == NEVER) {
		loop_timer_cancel(rtc->loop, &rtc->timer);
		return;
	}
	uint64_t delay = at > now ? at - now : 0;
	loop_timer_set(rtc->loop, &rtc->timer, util_now_ns() + MIN(delay, SLEEP_MAX_NS));
}

static void timer_fn(struct loop_timer *t)
{
	schedule(container_of(t, struct rtc, timer));
}

static void rearm_fn(struct loop_post *p)
{
	schedule(container_of(p, struct rtc, rearm));
}

/* What is armed may have changed; the timer is the loop's, so the loop looks. */
static void kick_locked(struct rtc *rtc)
{
	if (rtc->loop && (rtc->cmos[REG_B] & (B_UIE | B_AIE | B_PIE)))
		loop_post(rtc->loop, &rtc->rearm);
}

static uint8_t data_read_locked(struct rtc *rtc)
{
	uint64_t now = rtc->now_ns();
	uint8_t v;

	switch (rtc->index) {
	case REG_SEC:
	case REG_MIN:
	case REG_HOUR:
	case REG_WDAY ... REG_YEAR:
	case RTC_CENTURY:
		refresh_locked(rtc);
		return rtc->cmos[rtc->index];
	case REG_A:
		v = rtc->cmos[REG_A];
		if (running_locked(rtc) && now % NSEC_PER_SEC >= NSEC_PER_SEC - UIP_NS)
			v |= A_UIP;
		return v;
	case REG_C:
		advance_locked(rtc, now);
		v = rtc->cmos[REG_C];
		rtc->cmos[REG_C] = 0;
		irq_line_set(&rtc->irq, false);
		if (v & C_IRQF)
			kick_locked(rtc);
		return v;
	case REG_D:
		return D_VRT;
	default:
		return rtc->cmos[rtc->index];
	}
}

static void b_write_locked(struct rtc *rtc, uint8_t value)
{
	uint8_t was = rtc->cmos[REG_B];

	/* What SET freezes is in the mode that is written with it. */
	rtc->cmos[REG_B] = value & ~B_SET;
	if ((value & B_SET) && !(was & B_SET))
		refresh_locked(rtc);
	/* SET stops updates and with them their interrupt (data sheet, register B). */
	if (value & B_SET)
		rtc->cmos[REG_B] = value & ~B_UIE;
	if ((was & B_SET) && !(value & B_SET)) {
		take_time_locked(rtc);
		rtc->seen_s = guest_s_locked(rtc, rtc->now_ns());
	}
}

static void time_write_locked(struct rtc *rtc, uint8_t value)
{
	/* Without SET, a byte of the running time is replaced. */
	refresh_locked(rtc);
	rtc->cmos[rtc->index] = value;
	if (rtc->cmos[REG_B] & B_SET)
		return;
	take_time_locked(rtc);
	rtc->seen_s = guest_s_locked(rtc, rtc->now_ns());
}

static void data_write_locked(struct rtc *rtc, uint8_t value)
{
	/* Flags that are due belong to the settings from before. */
	advance_locked(rtc, rtc->now_ns());
	switch (rtc->index) {
	case REG_SEC:
	case REG_MIN:
	case REG_HOUR:
	case REG_WDAY ... REG_YEAR:
	case RTC_CENTURY:
		time_write_locked(rtc, value);
		break;
	case REG_A:
		rtc->cmos[REG_A] = value & ~A_UIP;
		break;
	case REG_B:
		b_write_locked(rtc, value);
		break;
	case REG_C:
	case REG_D: /* read-only */
		break;
	default:
		rtc->cmos[rtc->index] = value;
		break;
	}
	/* An interrupt may have been enabled whose flag is on already. */
	advance_locked(rtc, rtc->now_ns());
	if (rtc->index <= REG_B || rtc->index == RTC_CENTURY)
		kick_locked(rtc);
}

static uint64_t rtc_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct rtc *rtc = container_of(r, struct rtc, region);
	uint8_t v = 0xff; /* the index is write-only */

	(void)width;
	if (off == 1) {
		pthread_mutex_lock(&rtc->lock);
		v = data_read_locked(rtc);
		pthread_mutex_unlock(&rtc->lock);
	}
	return v;
}

static void rtc_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct rtc *rtc = container_of(r, struct rtc, region);

	(void)width;
	pthread_mutex_lock(&rtc->lock);
	if (off == 1)
		data_write_locked(rtc, (uint8_t)value);
	else
		rtc->index = value & (RTC_CMOS_LEN - 1); /* the top bit is the NMI mask */
	pthread_mutex_unlock(&rtc->lock);
}

int rtc_init(struct rtc *rtc, struct bus *pio, uint16_t port, struct kvm *kvm, uint32_t gsi,
	     struct loop *loop, struct err *err)
{
	*rtc = (struct rtc){ .pio = pio, .loop = loop, .now_ns = host_now_ns };
	rtc->timer.fn = timer_fn;
	rtc->rearm.fn = rearm_fn;
	rtc->cmos[REG_A] = A_DV_RUN | 6; /* 1024 Hz, what firmware leaves; not enabled */
	rtc->cmos[REG_B] = B_24H;
	rtc->seen_ns = rtc->now_ns();
	rtc->seen_s = guest_s_locked(rtc, rtc->seen_ns);
	rtc->region = (struct bus_region){
		.name = "rtc",
		.base = port,
		.size = RTC_PORTS,
		.max_width = 1,
		.read = rtc_bus_read,
		.write = rtc_bus_write,
	};
	pthread_mutex_init(&rtc->lock, NULL);
	irq_line_init(&rtc->irq, kvm, gsi);
	if (bus_add(pio, &rtc->region)) {
		pthread_mutex_destroy(&rtc->lock);
		return err_internal(err, "rtc: the ports at 0x%x are taken", port);
	}
	return 0;
}

void rtc_release(struct rtc *rtc)
{
	bus_remove(rtc->pio, &rtc->region);
	if (rtc->loop) {
		loop_post_cancel(rtc->loop, &rtc->rearm);
		loop_timer_cancel(rtc->loop, &rtc->timer);
	}
	pthread_mutex_destroy(&rtc->lock);
}
