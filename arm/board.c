/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <lkvm/board.h>
#include <lkvm/chr.h>
#include <lkvm/coalesced.h>
#include <lkvm/config.h>
#include <lkvm/earlycon.h>
#include <lkvm/gmem.h>
#include <lkvm/kvm.h>
#include <lkvm/log.h>
#include <lkvm/pci.h>
#include <lkvm/pl031.h>
#include <lkvm/serial.h>
#include <lkvm/src.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#include "boot.h"
#include "dtb.h"
#include "entry.h"
#include "gic.h"
#include "memmap.h"
#include "ports.h"
#include "v2m.h"

#define INITRDS_MAX 16

/* As on x86: a console that does not wait, a reset after a panic, and time stamps. */
const char *const board_cmdline = "console=ttyS0,115200 panic=-1 printk.time=1";
const char *const board_cmdline_tail = "earlycon=uart8250,mmio32,0x01090000";
_Static_assert(GPA_EARLYCON == 0x01090000, "the address in board_cmdline_tail");

/* The registers of a command are ports on x86; there is nothing in their place yet. */
const uint32_t board_cmd_port = BOARD_NO_PORT;

const char *const board_kernels[] = { "./Image", "./arch/arm64/boot/Image", "/boot/vmlinuz-",
				      NULL };

enum part { PART_RTC, PART_PCI, PART_PORTS, PART_EARLYCON, PART_V2M };

struct board {
	struct board_parts p;
	enum irqchip irqchip;
	unsigned int serials_nr; /* made so far */
	unsigned int built;      /* a bit for each part */
	struct serial serials[SERIAL_NR];
	struct pl031 rtc;
	struct pci pci;
	struct ports ports;
	struct v2m v2m;
	struct earlycon earlycon;
	void *earlycon_page; /* MAP_FAILED: none */
	struct boot_result boot;
};

int board_ram(const struct kvm *kvm, uint64_t size, struct gmem_region *spans, struct err *err)
{
	unsigned int bits = arm_ipa_bits(kvm);
	uint64_t max;

	int ret = memmap_ram(size, bits, spans, &max);
	if (ret < 0)
		return err_usage(err,
				 "-m: %llu MiB do not fit: this host's guests have addresses of %u "
				 "bits, which is memory for %llu MiB",
				 (unsigned long long)(size / MIB), bits,
				 (unsigned long long)(max / MIB));
	return ret;
}

static int add_serials(struct board *b, struct err *err)
{
	struct board_parts *p = &b->p;

	for (unsigned int i = 0; i < SERIAL_NR; i++) {
		int ret = serial_init(&b->serials[i], p->mmio, GPA_SERIAL + i * SERIAL_STRIDE,
				      p->kvm, SPI_SERIAL + i, i == 0 ? p->chr : NULL, err);
		if (ret)
			return ret;
		b->serials_nr++;
	}
	return 0;
}

/* The page never changes, so caches need not be kept in step when the guest reads it as a device. */
static void map_earlycon(struct board *b)
{
	struct err err = ERR_INIT;

	if (!kvm_check_cap(b->p.kvm, KVM_CAP_READONLY_MEM))
		return;
	b->earlycon_page = mmap(NULL, EARLYCON_LEN, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->earlycon_page == MAP_FAILED)
		return;
	earlycon_page(b->earlycon_page);
	if (kvm_add_memory(b->p.kvm, GPA_EARLYCON, EARLYCON_LEN, b->earlycon_page, true, &err) < 0)
		log_debug(&b->p.cfg->log, "the boot log costs exits: %s", err.msg);
	else
		coalesced_add(b->p.coalesced, false, GPA_EARLYCON, 4);
}

void board_speed_up_console(struct board *b)
{
	if (getpagesize() == EARLYCON_LEN)
		map_earlycon(b);
	coalesced_add(b->p.coalesced, false, GPA_SERIAL, 1);
}

/* There are none. */
void board_speed_up_streams(struct board *b)
{
	(void)b;
}

static int add_pci(struct board *b, struct err *err)
{
	struct board_parts *p = &b->p;
	struct pci_config cfg = {
		.ecam_gpa = GPA_ECAM,
		.ecam = true,
		/* A guest's device accesses see memory and not caches, where the bytes change. */
		.ecam_traps = true,
		.io = { PCI_IO_FIRST, GPA_PCI_IO_LEN - PCI_IO_FIRST },
		.mem32 = { GPA_PCI32, GPA_PCI32_LEN },
		.gsi_base = SPI_PCI,
		.gsi_nr = SPI_PCI_NR,
	};

	memmap_pci64(gmem_size(p->gm), arm_ipa_bits(p->kvm), &cfg.mem64.base, &cfg.mem64.len);
	return pci_init(&b->pci, &cfg, p->kvm, p->pio, p->mmio, p->stop, &p->cfg->log, err);
}

/* In this order: KVM makes the controller for the CPUs that are there, and their counters need it. */
static int add_cpus(struct board *b, struct err *err)
{
	const struct machine_config *cfg = b->p.cfg;
	int ret = 0;

	b->irqchip = cfg->irqchip;
	for (unsigned int i = 0; !ret && i < cfg->cpus_nr; i++)
		ret = arm_vcpu_setup(b->p.boot_cpu + i, cfg->pmu, err);
	if (!ret)
		ret = gic_init(b->p.kvm, &b->irqchip, cfg->cpus_nr, err);
	for (unsigned int i = 0; !ret && cfg->pmu && i < cfg->cpus_nr; i++)
		ret = arm_vcpu_start_pmu(b->p.boot_cpu + i, err);
	return ret;
}

static int add_devices(struct board *b, struct err *err)
{
	struct board_parts *p = &b->p;
	int ret;

#define ADD(part, call)                                                                            \
	do {                                                                                       \
		ret = (call);                                                                      \
		if (ret)                                                                           \
			return ret;                                                                \
		b->built |= 1u << (part);                                                          \
	} while (0)

	ret = add_cpus(b, err);
	if (!ret)
		ret = add_serials(b, err);
	if (ret)
		return ret;
	ADD(PART_RTC, pl031_init(&b->rtc, p->mmio, GPA_RTC, err));
	ADD(PART_PCI, add_pci(b, err));
	ADD(PART_PORTS, ports_init(&b->ports, p->mmio, p->pio, err));
	ADD(PART_EARLYCON, earlycon_init(&b->earlycon, p->mmio, GPA_EARLYCON, p->chr, err));
	if (b->irqchip == IRQCHIP_GICV2M)
		ADD(PART_V2M, v2m_init(&b->v2m, p->mmio, p->kvm, err));
#undef ADD
	return 0;
}

struct board *board_new(const struct board_parts *parts, struct err *err)
{
	struct board *b = calloc(1, sizeof(*b));

	if (!b) {
		err_host(err, ENOMEM, "cannot make a machine");
		return NULL;
	}
	b->p = *parts;
	b->earlycon_page = MAP_FAILED;
	if (add_devices(b, err)) {
		board_free(b);
		return NULL;
	}
	return b;
}

void board_free(struct board *b)
{
	if (b->built & 1u << PART_V2M)
		v2m_release(&b->v2m);
	if (b->built & 1u << PART_EARLYCON)
		earlycon_release(&b->earlycon);
	if (b->built & 1u << PART_PORTS)
		ports_release(&b->ports);
	if (b->built & 1u << PART_PCI)
		pci_release(&b->pci);
	if (b->built & 1u << PART_RTC)
		pl031_release(&b->rtc);
	while (b->serials_nr)
		serial_release(&b->serials[--b->serials_nr]);
	if (b->earlycon_page != MAP_FAILED)
		munmap(b->earlycon_page, EARLYCON_LEN);
	free(b);
}

struct pci *board_pci(struct board *b)
{
	return &b->pci;
}

static int load_kernel(struct board *b, struct src *initrds, unsigned int *nr, struct err *err)
{
	const struct machine_config *cfg = b->p.cfg;
	struct arm_cpu cpu;
	struct src kernel;

	int ret = arm_vcpu_facts(b->p.boot_cpu, &cpu, err);
	if (!ret)
		ret = src_open(&kernel, "kernel", cfg->kernel, err);
	if (ret)
		return ret;
	for (; !ret && *nr < cfg->initrds_nr; *nr += !ret)
		ret = src_open(&initrds[*nr], "initrd", cfg->initrds[*nr], err);
	if (!ret && cfg->initramfs)
		src_init_mem(&initrds[(*nr)++], "initrd", "of the command", cfg->initramfs,
			     cfg->initramfs_len);
	struct boot_request req = {
		.kernel = &kernel,
		.initrds = initrds,
		.initrds_nr = *nr,
		.cmdline = cfg->cmdline,
		.cpu = &cpu,
	};
	if (!ret)
		ret = boot_load(b->p.gm, &req, &b->boot, err);
	src_release(&kernel);
	return ret;
}

static int dump_dtb(const char *path, const void *dtb, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (fd < 0)
		return err_host(err, errno, "cannot write --dump-dtb %s", path);
	int ret = util_write_all(fd, dtb, dtb_len(dtb));
	close(fd);
	return ret ? err_host(err, -ret, "cannot write --dump-dtb %s", path) : 0;
}

/* Linux takes a KASLR seed of 0 for none, and stays where its symbols say. */
static int make_seeds(struct dtb_config *dtb, bool kaslr, struct err *err)
{
	if (getrandom(&dtb->kaslr_seed, sizeof(dtb->kaslr_seed), 0) != sizeof(dtb->kaslr_seed) ||
	    getrandom(dtb->rng_seed, sizeof(dtb->rng_seed), 0) != sizeof(dtb->rng_seed))
		return err_host(err, errno, "no random numbers for the guest");
	if (!kaslr)
		dtb->kaslr_seed = 0;
	return 0;
}

static int fill_tree(struct board *b, uint32_t *affinity, struct err *err)
{
	const struct machine_config *cfg = b->p.cfg;
	struct dtb_config dtb = {
		.cmdline = cfg->cmdline,
		.ram_gpa = GPA_RAM,
		.ram_len = gmem_size(b->p.gm),
		.initrd_gpa = b->boot.initrd_gpa,
		.initrd_len = b->boot.initrd_len,
		.affinity = affinity,
		.cpus_nr = cfg->cpus_nr,
		.irqchip = b->irqchip,
		.pmu = cfg->pmu,
		.pci64 = b->pci.cfg.mem64.base,
		.pci64_len = b->pci.cfg.mem64.len,
	};
	int ret = 0;

	for (unsigned int i = 0; !ret && i < cfg->cpus_nr; i++)
		ret = arm_vcpu_affinity(b->p.boot_cpu + i, &affinity[i], err);
	if (!ret)
		ret = make_seeds(&dtb, !cfg->symbols, err);
	void *to = gmem_span(b->p.gm, b->boot.dtb_gpa, BOOT_DTB_LEN);
	BUG_ON(!to); /* where boot_load() found room */
	if (!ret)
		ret = dtb_build(to, BOOT_DTB_LEN, &dtb, err);
	if (!ret && cfg->dump_dtb)
		ret = dump_dtb(cfg->dump_dtb, to, err);
	return ret;
}

static int make_tree(struct board *b, struct err *err)
{
	uint32_t *affinity = calloc(b->p.cfg->cpus_nr, sizeof(*affinity));

	if (!affinity)
		return err_host(err, ENOMEM, "no memory for the device tree");
	int ret = fill_tree(b, affinity, err);
	free(affinity);
	return ret;
}

int board_load(struct board *b, struct err *err)
{
	struct src initrds[INITRDS_MAX + 1];
	unsigned int nr = 0;

	if (b->p.cfg->initrds_nr > INITRDS_MAX)
		return err_usage(err, "--initrd: at most %d", INITRDS_MAX);
	int ret = load_kernel(b, initrds, &nr, err);
	while (nr)
		src_release(&initrds[--nr]);
	if (!ret)
		ret = make_tree(b, err);
	if (ret)
		return ret;
	log_debug(&b->p.cfg->log, "kernel: %s, entered at 0x%" PRIx64, b->boot.how,
		  b->boot.kernel_gpa);
	return arm_entry_set(b->p.boot_cpu, b->boot.kernel_gpa, b->boot.dtb_gpa, err);
}

void board_describe(const struct board *b, FILE *out)
{
	const struct machine_config *cfg = b->p.cfg;

	fprintf(out, "irqchip    %s\n", gic_name(b->irqchip));
	for (unsigned int i = 0; i < SERIAL_NR; i++)
		fprintf(out, "serial     memory 0x%" PRIx64 " irq %u%s\n",
			(uint64_t)(GPA_SERIAL + i * SERIAL_STRIDE), GIC_SPI_FIRST + SPI_SERIAL + i,
			i == 0 && cfg->console ? ", the console" : "");
	if (cfg->console)
		fprintf(out, "boot log   memory 0x%" PRIx64 "\n", (uint64_t)GPA_EARLYCON);
	fprintf(out, "rtc        memory 0x%" PRIx64 "\n", (uint64_t)GPA_RTC);
	fprintf(out, "pci        memory 0x%" PRIx64 ", a host bridge\n", (uint64_t)GPA_ECAM);
	fprintf(out, "pci window memory 0x%" PRIx64 ", ports at 0x%" PRIx64, (uint64_t)GPA_PCI32,
		(uint64_t)GPA_PCI_IO);
	if (b->pci.cfg.mem64.len)
		fprintf(out, " and 0x%" PRIx64, b->pci.cfg.mem64.base);
	fprintf(out, "\nfirmware   device tree at 0x%" PRIx64 "\n", b->boot.dtb_gpa);
	fprintf(out, "kernel     %s\n", cfg->kernel);
	fprintf(out, "boot       %s, entered at 0x%" PRIx64 "\n", b->boot.how, b->boot.kernel_gpa);
	if (b->boot.initrd_len)
		fprintf(out, "initrd     0x%" PRIx64 " %" PRIu64 " KiB\n", b->boot.initrd_gpa,
			b->boot.initrd_len / KIB);
}

/* An Image does not say. */
void board_kernel_release(const char *path, char *release, size_t len)
{
	(void)path;
	(void)len;
	*release = 0;
}
