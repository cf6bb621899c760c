/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <lkvm/acpi-pm.h>
#include <lkvm/board.h>
#include <lkvm/chr.h>
#include <lkvm/coalesced.h>
#include <lkvm/config.h>
#include <lkvm/debug-exit.h>
#include <lkvm/earlycon.h>
#include <lkvm/gmem.h>
#include <lkvm/i8042.h>
#include <lkvm/kvm.h>
#include <lkvm/log.h>
#include <lkvm/pci.h>
#include <lkvm/pvpanic.h>
#include <lkvm/rtc.h>
#include <lkvm/serial.h>
#include <lkvm/src.h>
#include <lkvm/streams.h>
#include <lkvm/util.h>

#include "acpi.h"
#include "boot.h"
#include "memmap.h"
#include "mptable.h"

#define INITRDS_MAX 16

/*
 * console: where the user looks, at a rate that makes Linux's driver not wait. panic: a panicked guest
 * resets at once. pci: no search of all slots for chipsets with quirks, which costs 200 exits.
 * noreplace-smp: with one CPU too the kernel's code stays what it is with several, instead of having each
 * of its thousands of lock prefixes patched out at boot. With a value, because a kernel without the
 * parameter would hand the bare word to init as an argument.
 * printk.time: by its time stamps the kernel's lines are told from those of programs.
 */
const char *const board_cmdline =
	"console=ttyS0,115200 panic=-1 pci=noearly noreplace-smp=1 printk.time=1";
/* The boot log until the console is there, by a port that costs no exit (earlycon.h). */
const char *const board_cmdline_tail = "earlycon=uart8250,mmio32,0xfe000000";
_Static_assert(GPA_EARLYCON == 0xfe000000, "the address in board_cmdline_tail");

const uint32_t board_cmd_port = PORT_CMD;

/* An entry that ends in a dash is followed by `uname -r`. */
const char *const board_kernels[] = { "./bzImage", "./arch/x86/boot/bzImage", "/boot/vmlinuz-",
				      NULL };

/* Devices of which there is one; the serial ports are counted. */
enum part {
	PART_RTC,
	PART_I8042,
	PART_PM,
	PART_PVPANIC,
	PART_PCI,
	PART_EARLYCON,
	PART_CMD,
	PART_DEBUG_EXIT,
};

struct board {
	struct board_parts p;
	unsigned int serials_nr; /* made so far */
	unsigned int built;      /* a bit for each part */
	struct serial serials[SERIAL_NR];
	struct rtc rtc;
	struct i8042 i8042;
	struct acpi_pm pm;
	struct pvpanic pvpanic;
	struct pci pci;
	struct earlycon earlycon;
	void *earlycon_page; /* MAP_FAILED: none */
	struct debug_exit debug_exit;
	struct boot_result boot;
};

int board_ram(const struct kvm *kvm, uint64_t size, struct gmem_region *spans, struct err *err)
{
	(void)kvm;
	(void)err;
	return (int)memmap_ram(size, spans);
}

static int add_serials(struct board *b, struct err *err)
{
	struct board_parts *p = &b->p;

	for (unsigned int i = 0; i < SERIAL_NR; i++) {
		struct chr *stream = p->streams ? streams_chr(p->streams, i) : NULL;
		int ret = serial_init(&b->serials[i], p->pio, serial_places[i].port, p->kvm,
				      serial_places[i].irq, i == 0 ? p->chr : stream, err);
		if (ret)
			return ret;
		b->serials_nr++;
	}
	return 0;
}

/* The boot log's register page as read-only memory, and its writes queued: no exit to user space a byte. */
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

/* Each of KVM's calls here waits for a grace period, milliseconds on some hosts. */
void board_speed_up_console(struct board *b)
{
	map_earlycon(b);
	coalesced_add(b->p.coalesced, true, serial_places[0].port, 1);
}

void board_speed_up_streams(struct board *b)
{
	for (unsigned int i = CMD_STDIO; i < CMD_STREAMS_END; i++)
		coalesced_add(b->p.coalesced, true, serial_places[i].port, 1);
}

static int add_pci(struct board *b, struct err *err)
{
	struct board_parts *p = &b->p;
	struct pci_config cfg = {
		.ecam_gpa = GPA_ECAM,
		.conf1 = p->cfg->pci_access != PCI_ACCESS_ECAM,
		.ecam = p->cfg->pci_access != PCI_ACCESS_CONF1,
		.io = { PORT_PCI_IO, PORT_PCI_IO_LEN },
		.mem32 = { GPA_PCI32, GPA_PCI32_LEN },
		.gsi_base = GSI_PCI,
		.gsi_nr = GSI_PCI_NR,
	};

	memmap_pci64(gmem_size(p->gm), x86_phys_bits(p->boot_cpu), &cfg.mem64.base, &cfg.mem64.len);
	return pci_init(&b->pci, &cfg, p->kvm, p->pio, p->mmio, p->stop, &p->cfg->log, err);
}

static int add_devices(struct board *b, struct err *err)
{
	struct board_parts *p = &b->p;
	const struct machine_config *cfg = p->cfg;
	static const struct i8042_config i8042 = {
		.data_port = PORT_I8042_DATA,
		.cmd_port = PORT_I8042_CMD,
		.a20_port = PORT_A20,
		.kbd_gsi = IRQ_KBD,
		.aux_gsi = IRQ_AUX,
	};
	int ret;

#define ADD(part, call)                                                                            \
	do {                                                                                       \
		ret = (call);                                                                      \
		if (ret)                                                                           \
			return ret;                                                                \
		b->built |= 1u << (part);                                                          \
	} while (0)

	ret = add_serials(b, err);
	if (ret)
		return ret;
	ADD(PART_RTC, rtc_init(&b->rtc, p->pio, PORT_RTC, p->kvm, IRQ_RTC, p->loop, err));
	ADD(PART_I8042, i8042_init(&b->i8042, p->pio, &i8042, p->kvm, p->stop, err));
	ADD(PART_PM, acpi_pm_init(&b->pm, p->pio, PORT_PM, p->kvm, IRQ_SCI, p->stop, err));
	ADD(PART_PVPANIC, pvpanic_init(&b->pvpanic, p->pio, PORT_PVPANIC, p->stop, &cfg->log, err));
	ADD(PART_PCI, add_pci(b, err));
	if (p->streams)
		ADD(PART_CMD,
		    cmd_status_plug(streams_registers(p->streams), p->pio, PORT_CMD, err));
	if (cfg->debug_exit >= 0)
		ADD(PART_DEBUG_EXIT,
		    debug_exit_init(&b->debug_exit, p->pio, cfg->debug_exit, p->stop, err));
	ADD(PART_EARLYCON, earlycon_init(&b->earlycon, p->mmio, GPA_EARLYCON, p->chr, err));
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
	if (b->built & 1u << PART_EARLYCON)
		earlycon_release(&b->earlycon);
	if (b->built & 1u << PART_DEBUG_EXIT)
		debug_exit_release(&b->debug_exit);
	if (b->built & 1u << PART_CMD)
		cmd_status_unplug(streams_registers(b->p.streams));
	if (b->built & 1u << PART_PCI)
		pci_release(&b->pci);
	if (b->built & 1u << PART_PVPANIC)
		pvpanic_release(&b->pvpanic);
	if (b->built & 1u << PART_PM)
		acpi_pm_release(&b->pm);
	if (b->built & 1u << PART_I8042)
		i8042_release(&b->i8042);
	if (b->built & 1u << PART_RTC)
		rtc_release(&b->rtc);
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

static int build_tables(struct board *b, uint64_t *rsdp, struct err *err)
{
	const struct machine_config *cfg = b->p.cfg;
	struct acpi_config acpi = {
		.cpus_nr = cfg->cpus_nr,
		.pci = true,
		.pci64 = b->pci.cfg.mem64.base,
		.pci64_len = b->pci.cfg.mem64.len,
		.ecam = cfg->pci_access != PCI_ACCESS_CONF1,
		.pvpanic = true,
		.serial_nr = SERIAL_NR,
	};

	*rsdp = 0;
	/* With ACPI too: a kernel that knows MP tables searches 66 KiB for one that is not there. */
	int ret = mptable_build(b->p.gm, cfg->cpus_nr, err);
	if (!ret && cfg->acpi)
		ret = acpi_build(b->p.gm, &acpi, rsdp, err);
	return ret;
}

static int load_kernel(struct board *b, uint64_t rsdp, struct src *initrds, unsigned int *nr,
		       struct err *err)
{
	const struct machine_config *cfg = b->p.cfg;
	struct src kernel;

	int ret = src_open(&kernel, "kernel", cfg->kernel, err);
	if (ret)
		return ret;
	for (; !ret && *nr < cfg->initrds_nr; *nr += !ret)
		ret = src_open(&initrds[*nr], "initrd", cfg->initrds[*nr], err);
	if (cfg->initramfs)
		src_init_mem(&initrds[(*nr)++], "initrd", "of the command", cfg->initramfs,
			     cfg->initramfs_len);
	struct boot_request req = {
		.kernel = &kernel,
		.initrds = initrds,
		.initrds_nr = *nr,
		.cmdline = cfg->cmdline,
		.how = cfg->boot,
		.kaslr = cfg->kaslr,
		.cache_dir = cfg->cache_dir,
		.rsdp = rsdp,
		.log = &cfg->log,
	};
	if (!ret)
		ret = boot_load(b->p.gm, &req, &b->boot, err);
	src_release(&kernel);
	return ret;
}

/* Words by which a user keeps a kernel from ECAM, or from the table that leads to it. */
static bool keeps_from_ecam(const char *cmdline)
{
	static const char *const words[] = { "acpi=off", "nommconf", "conf1", "pci=noacpi" };

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(cmdline, words[i]))
			return true;
	return false;
}

/*
 * Linux asks the ports for the first 256 bytes whenever they answer, at two exits an access; it uses ECAM, whose reads
 * cost none, when they do not.
 */
static void choose_pci_access(struct board *b)
{
	const struct machine_config *cfg = b->p.cfg;

	if (cfg->pci_access == PCI_ACCESS_AUTO && cfg->acpi && b->boot.ecam &&
	    !keeps_from_ecam(cfg->cmdline))
		b->pci.cfg.conf1 = false;
	log_debug(&cfg->log, "pci: configuration space by%s%s",
		  b->pci.cfg.conf1 ? " the ports 0xcf8 and 0xcfc" : "",
		  !b->pci.cfg.ecam   ? ""
		  : b->pci.cfg.conf1 ? " and ECAM"
				     : " ECAM alone");
}

int board_load(struct board *b, struct err *err)
{
	struct src initrds[INITRDS_MAX + 1];
	unsigned int nr = 0;
	uint64_t rsdp;

	if (b->p.cfg->initrds_nr > INITRDS_MAX)
		return err_usage(err, "--initrd: at most %d", INITRDS_MAX);
	int ret = build_tables(b, &rsdp, err);
	if (!ret)
		ret = load_kernel(b, rsdp, initrds, &nr, err);
	while (nr)
		src_release(&initrds[--nr]);
	if (ret)
		return ret;
	choose_pci_access(b);
	log_debug(&b->p.cfg->log, "kernel: %s, entered at 0x%" PRIx64, b->boot.how,
		  b->boot.entry.rip);
	return x86_entry_set(b->p.boot_cpu, b->p.gm, &b->boot.entry, err);
}

void board_describe(const struct board *b, FILE *out)
{
	const struct machine_config *cfg = b->p.cfg;

	for (unsigned int i = 0; i < SERIAL_NR; i++)
		fprintf(out, "serial     port 0x%03x irq %u%s\n", serial_places[i].port,
			serial_places[i].irq, i == 0 && cfg->console ? ", the console" : "");
	if (cfg->console)
		fprintf(out, "boot log   memory 0x%" PRIx64 "\n", (uint64_t)GPA_EARLYCON);
	fprintf(out, "rtc        port 0x%02x irq %u\n", PORT_RTC, IRQ_RTC);
	fprintf(out, "i8042      port 0x%02x irq %u, %u\n", PORT_I8042_DATA, IRQ_KBD, IRQ_AUX);
	fprintf(out, "acpi pm    port 0x%03x irq %u\n", PORT_PM, IRQ_SCI);
	fprintf(out, "pvpanic    port 0x%03x\n", PORT_PVPANIC);
	if (cfg->command)
		fprintf(out, "command    port 0x%03x, streams on the serial ports\n", PORT_CMD);
	if (cfg->debug_exit >= 0)
		fprintf(out, "debug exit port 0x%03x\n", (unsigned int)cfg->debug_exit);
	fprintf(out, "pci        ");
	if (b->pci.cfg.conf1)
		fprintf(out, "ports 0x%03x, ", PORT_PCI_CONF);
	if (b->pci.cfg.ecam)
		fprintf(out, "memory 0x%" PRIx64 ", ", (uint64_t)GPA_ECAM);
	fprintf(out, "a host bridge\n");
	fprintf(out, "pci window ports 0x%x, memory 0x%" PRIx64, PORT_PCI_IO, (uint64_t)GPA_PCI32);
	if (b->pci.cfg.mem64.len)
		fprintf(out, " and 0x%" PRIx64, b->pci.cfg.mem64.base);
	fprintf(out, "\n");
	fprintf(out, "firmware   %s\n", cfg->acpi ? "ACPI" : "MP table");
	fprintf(out, "kernel     %s\n", cfg->kernel);
	fprintf(out, "boot       %s, entered at 0x%" PRIx64 "\n", b->boot.how, b->boot.entry.rip);
	if (b->boot.initrd_len)
		fprintf(out, "initrd     0x%" PRIx64 " %" PRIu64 " KiB\n", b->boot.initrd_gpa,
			b->boot.initrd_len / KIB);
}

void board_kernel_release(const char *path, char *release, size_t len)
{
	boot_kernel_release(path, release, len);
}
