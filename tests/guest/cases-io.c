/* SPDX-License-Identifier: GPL-2.0 */
/* Memory and its holes, hostile sweeps over ports and addresses, and the ACPI tables. */
#include "guest.h"

#define PATTERN 0x5aa5c33c0ff01234ULL

/* A page's place is its pattern, so that two addresses of one page are found. */
static void ram_touch(bool check, uint64_t addr)
{
	if (!check)
		write64(addr, PATTERN ^ addr);
	else if (read64(addr) != (PATTERN ^ addr))
		fail("memory changed at", addr);
}

static bool is_ours(uint64_t addr)
{
	return addr < MIB || (addr >= 0x200000 - 4096 && addr < (uint64_t)image_end);
}

/* The first and last words of every usable range, and one in the middle of each 256 MiB. */
static void t_ram(void)
{
	uint64_t total = 0;

	cpu_load_tables();
	for (int check = 0; check < 2; check++) {
		for (unsigned int i = 0; i < boot.ram_nr; i++) {
			uint64_t a = boot.ram[i].addr, end = a + boot.ram[i].len;
			if (end - 8 >= MIB)
				ram_touch(check, end - 8);
			for (; a < end; a += 256 * MIB)
				if (!is_ours(a))
					ram_touch(check, a);
			total += check ? boot.ram[i].len : 0;
		}
	}
	for (unsigned int i = 0; i < boot.ram_nr; i++) {
		print("ram ");
		print_hex(boot.ram[i].addr);
		print(" ");
		print_hex(boot.ram[i].len);
		print("\n");
	}
	print("total ");
	print_num(total >> 20);
	print(" MiB\n");
	pass();
}

/* The 64-bit boot protocol's identity map, before our own page tables: 4 GiB. */
static void t_identity_map(void)
{
	for (uint64_t a = 0x200000 - 8; a < 4 * GIB; a += 512 * MIB)
		(void)read64(a);
	if (read32(RAM_LOW_MAX) != ~0u || read32(4 * GIB - 4) != ~0u)
		fail("unbacked memory does not read as ones", read32(RAM_LOW_MAX));
	pass();
}

/* Reads as ones, drops writes, on both sides of every edge of RAM. */
static void t_hole(void)
{
	uint64_t end = boot.ram[boot.ram_nr - 1].addr + boot.ram[boot.ram_nr - 1].len;
	uint64_t low = end < RAM_LOW_MAX ? end : RAM_LOW_MAX;

	cpu_load_tables();
	for (uint64_t hole = low;; hole = end) {
		write64(hole, 0);
		if (read8(hole) != 0xff || read16(hole) != 0xffff || read32(hole) != ~0u ||
		    read64(hole) != ~0ULL)
			fail("unbacked memory does not read as ones", hole);
		/* half in RAM, half not */
		write64(hole - 8, 0x1111111111111111);
		write64(hole - 4, 0x2222222222222222);
		if (read64(hole - 8) != 0x2222222211111111)
			fail("a write over the edge of RAM is wrong", read64(hole - 8));
		if (read64(hole - 4) != 0xffffffff22222222)
			fail("a read over the edge of RAM is wrong", read64(hole - 4));
		if (hole == end)
			break;
	}
	/* the other end of the hole, when RAM goes on at 4 GiB */
	if (end > 4 * GIB) {
		write64(4 * GIB, 0x3333333333333333);
		if (read64(4 * GIB - 4) != 0x33333333ffffffff)
			fail("a read into RAM above 4 GiB is wrong", read64(4 * GIB - 4));
	}
	pass();
}

/* Ports that end the VM, or that would stop the sweep by what they do. */
static bool stops(uint32_t port, uint32_t width)
{
	static const struct {
		uint16_t port, len;
	} stop[] = { { 0x60, 1 },         { I8042_CMD, 1 },   { PORT_A20, 1 },
		     { PORT_PVPANIC, 1 }, { PORT_PM_CNT, 2 }, { PORT_RESET, 1 } };

	for (unsigned int i = 0; i < sizeof(stop) / sizeof(stop[0]); i++)
		if (port < stop[i].port + stop[i].len && stop[i].port < port + width)
			return true;
	return false;
}

static uint32_t seed = 12345;

static uint32_t random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static void serial_reset(void)
{
	outb(COM1 + 1, 0); /* IER */
	outb(COM1 + 3, 3); /* 8n1 */
	outb(COM1 + 2, 7); /* clear the FIFOs */
	outb(COM1 + 4, 3);
}

/* Every port at one width, read and write. An access may run over the end of the port space. */
static void t_port_sweep(void)
{
	uint32_t width = arg_num("width", 1);

	for (uint32_t port = 0; port < 0x10000; port++) {
		uint32_t v = random();
		if (width == 1) {
			inb(port);
			if (!stops(port, 1))
				outb(port, v);
		} else if (width == 2) {
			inw(port);
			if (!stops(port, 2))
				outw(port, v);
		} else {
			inl(port);
			if (!stops(port, 4) || port == 0xcf8)
				outl(port, v);
		}
	}
	serial_reset();
	print("\nswept\n");
	pass();
}

/* String instructions over the device ports, forwards and backwards. */
static void t_port_strings(void)
{
	static uint8_t buf[256];
	static const uint16_t ports[] = { 0x2e9, 0x2f9, 0x3fa, 0x3ff, 0x61,
					  0x71,  0x80,  0xcfc, 0x600, 0x608 };

	for (unsigned int i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		void *p = buf;
		uint64_t n = sizeof(buf);
		__asm__ volatile("rep insb" : "+D"(p), "+c"(n) : "d"(ports[i]) : "memory");
		p = buf;
		n = sizeof(buf) / 4;
		__asm__ volatile("rep insl" : "+D"(p), "+c"(n) : "d"(ports[i]) : "memory");
		p = buf + sizeof(buf) - 2;
		n = sizeof(buf) / 2;
		__asm__ volatile("std; rep insw; cld"
				 : "+D"(p), "+c"(n)
				 : "d"(ports[i])
				 : "memory");
		p = buf;
		n = 16;
		if (ports[i] != 0x600)
			__asm__ volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(ports[i]) : "memory");
	}
	serial_reset();
	print("\nswept\n");
	pass();
}

static void mmio_poke(uint64_t addr)
{
	switch (random() & 7) {
	case 0:
		(void)read8(addr);
		break;
	case 1:
		(void)read16(addr);
		break;
	case 2:
		(void)read32(addr);
		break;
	case 3:
		(void)read64(addr);
		break;
	case 4:
		write8(addr, random());
		break;
	case 5:
		write16(addr, random());
		break;
	case 6:
		write32(addr, random());
		break;
	default:
		write64(addr, (uint64_t)random() << 32 | random());
		break;
	}
}

/* Anywhere from the end of low RAM to 4 GiB, aligned or not, and above RAM; the local APIC is left alone. */
static void t_mmio_sweep(void)
{
	static const uint64_t windows[] = { 0xc0000000, 0xdffffff0, 0xe0000000, 0xe00ffff0,
					    0xfdfffff0, 0xfe000000, 0xfec00000, 0xfed00000,
					    0xfffbc000, 0xffffff00, 0x1fffffff0 };

	cpu_load_tables();
	for (unsigned int i = 0; i < 40000; i++) {
		uint64_t addr = RAM_LOW_MAX + random() % 0x40000000;
		if (i & 1)
			addr = windows[random() % (sizeof(windows) / sizeof(windows[0]))] +
			       random() % 4096;
		if (addr >= LAPIC - 8 && addr < LAPIC + 4096)
			continue;
		if (addr + 8 > 8 * GIB)
			continue;
		mmio_poke(addr);
	}
	print("swept\n");
	pass();
}

static uint32_t pci_conf1(uint32_t reg)
{
	outl(0xcf8, 0x80000000 | (reg & 0xfc));
	return inl(0xcfc);
}

/* The host bridge by both ways, before and after its configuration space is memory that traps writes only. */
static void t_pci_ecam(void)
{
	for (unsigned int round = 0; round < 100; round++) {
		for (uint32_t reg = 0; reg < 256; reg += 4)
			if (read32(ECAM + reg) != pci_conf1(reg))
				fail("the two ways differ at register", reg);
		write16(ECAM + 4, 0x0104 | (round & 1) << 1); /* SERR, bus master, memory */
		if ((pci_conf1(4) & 0xffff) != (0x0104 | (round & 1) << 1))
			fail("what ECAM wrote, CFC does not read", pci_conf1(4));
		outl(0xcf8, 0x8000003c);
		outb(0xcfc, round);
		if (read8(ECAM + 0x3c) != round)
			fail("what CFC wrote, ECAM does not read", read8(ECAM + 0x3c));
		write32(ECAM, 0x12345678); /* read-only */
		if (read32(ECAM) == 0x12345678 || ~read32(ECAM + 0x100) || ~read32(ECAM + 0xffc))
			fail("configuration space is wrong in round", round);
		for (uint32_t page = 1; page < 256; page += 51)
			if (read32(ECAM + page * 4096) != ~0u)
				fail("somebody is in page", page);
	}
	pass();
}

static uint32_t sum(uint64_t addr, uint32_t len)
{
	uint8_t s = 0;

	while (len--)
		s += read8(addr++);
	return s;
}

static uint64_t table_check(uint64_t addr)
{
	if (!addr || addr >= 4 * GIB)
		fail("an ACPI table is at", addr);
	if (sum(addr, read32(addr + 4)))
		fail("wrong checksum of the ACPI table at", addr);
	return addr;
}

static uint64_t table_find(uint64_t xsdt, uint32_t sig)
{
	for (uint32_t off = 36; off + 8 <= read32(xsdt + 4); off += 8)
		if (read32(read64(xsdt + off)) == sig)
			return table_check(read64(xsdt + off));
	return 0;
}

#define SIG(a, b, c, d)                                                                            \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* SLP_TYP of \_S5: NameOp, the name, PackageOp, length, count, then a byte or BytePrefix and a byte. */
static uint8_t dsdt_s5(uint64_t dsdt)
{
	for (uint64_t p = dsdt + 36, end = dsdt + read32(dsdt + 4); p + 12 < end; p++) {
		if (read32(p) != SIG('_', 'S', '5', '_') || read8(p + 4) != 0x12)
			continue;
		return read8(p + 7) == 0x0a ? read8(p + 8) : read8(p + 7);
	}
	fail("the DSDT has no _S5", dsdt);
}

/* Powers off with what the tables say and nothing else. */
static void t_acpi(void)
{
	uint64_t xsdt, fadt, madt;
	uint32_t cpus = 0;

	if (!boot.rsdp)
		fail("no RSDP", 0);
	if (read64(boot.rsdp) != 0x2052545020445352) /* "RSD PTR " */
		fail("no signature of an RSDP at", boot.rsdp);
	if (sum(boot.rsdp, 20) || sum(boot.rsdp, 36))
		fail("wrong checksum of the RSDP at", boot.rsdp);
	xsdt = table_check(read64(boot.rsdp + 24));
	fadt = table_find(xsdt, SIG('F', 'A', 'C', 'P'));
	madt = table_find(xsdt, SIG('A', 'P', 'I', 'C'));
	if (!fadt || !madt || !table_find(xsdt, SIG('M', 'C', 'F', 'G')))
		fail("no FADT, MADT or MCFG in the XSDT at", xsdt);
	for (uint64_t p = madt + 44; p < madt + read32(madt + 4) && read8(p + 1); p += read8(p + 1))
		cpus += (read8(p) == 0 && (read32(p + 4) & 1)) ||
			(read8(p) == 9 && (read32(p + 8) & 1));
	print("cpus ");
	print_num(cpus);
	print("\n");
	uint64_t dsdt = read64(fadt + 140) ? read64(fadt + 140) : read32(fadt + 40);
	outw(read32(fadt + 64), dsdt_s5(table_check(dsdt)) << 10 | 1 << 13);
	fail("PM1a_CNT did not power off", read32(fadt + 64));
}

/* FADT's reset register. */
static void t_acpi_reset(void)
{
	uint64_t fadt = boot.rsdp ? table_find(read64(boot.rsdp + 24), SIG('F', 'A', 'C', 'P')) : 0;

	if (!fadt || !(read32(fadt + 112) & (1u << 10)) || read8(fadt + 116) != 1)
		fail("the FADT has no reset register in I/O space", fadt);
	outb(read64(fadt + 120), read8(fadt + 128));
	fail("the reset register did nothing", read64(fadt + 120));
}

const struct guest_case cases_io[] = {
	{ "ram", t_ram },
	{ "identity-map", t_identity_map },
	{ "hole", t_hole },
	{ "port-sweep", t_port_sweep },
	{ "port-strings", t_port_strings },
	{ "mmio-sweep", t_mmio_sweep },
	{ "pci-ecam", t_pci_ecam },
	{ "acpi", t_acpi },
	{ "acpi-reset", t_acpi_reset },
	{ NULL, NULL },
};
