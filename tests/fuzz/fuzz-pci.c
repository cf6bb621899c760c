// SPDX-License-Identifier: GPL-2.0
// LINK: pci.c pci-bar.c pci-ecam.c pci-irq.c bus.c util/err.c util/log.c util/util.c
/*
 * A hostile guest at the PCI bus: the input is a program of accesses to configuration space, BARs and
 * MSI-X tables of three functions, and of interrupts that these raise. After each step the bus's rules must hold.
 */
#include "../unit/pci-hw.h"
#include "fuzz.h"

#define FUNCS    3u
#define VECTORS  35u
#define MSIX_BAR 3u
#define MSIX_CAP 0x54u
#define WINDOW   0x50u

static struct func funcs[FUNCS];
static uint8_t pristine[FUNCS][PCI_CONFIG_LEN];

static const uint64_t sizes[FUNCS][3] = { { 32, 4096, 16384 },
					  { 4, 16, 4096 },
					  { 256, 65536, 1 << 20 } };
static const uint8_t kinds[6] = { PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_NONE, PCI_BAR_MEM32,
				  PCI_BAR_MEM64 };

static void build(void)
{
	static const uint8_t body[18];
	static struct kvm kvm;
	uint8_t wmask[18] = { 0 };
	struct err err = ERR_INIT;

	memset(wmask + 2, 0xff, 16);
	pci_hw_kvm = &kvm;
	pci_hw_init(&pci_hw_config);
	for (unsigned int i = 0; i < FUNCS; i++) {
		struct func *f = &funcs[i];

		func_init(f);
		func_bar(f, 0, PCI_BAR_IO, sizes[i][0]);
		func_bar(f, 1, PCI_BAR_MEM32, sizes[i][1]);
		func_bar(f, 4, PCI_BAR_MEM64, sizes[i][2]);
		FUZZ_CHECK(pci_add_cap(&f->pd, 9, body, sizeof(body), wmask) == 0x40);
		pci_set_window(&f->pd, WINDOW);
		FUZZ_CHECK(pci_add_msix(&f->pd, MSIX_BAR, VECTORS, &err) == 0);
		func_add(f);
		memcpy(pristine[i], f->pd.config, PCI_CONFIG_LEN);
	}
}

static void demolish(void)
{
	for (unsigned int i = 0; i < FUNCS; i++)
		func_remove(&funcs[i]);
	for (unsigned int i = 0; i < FAKE_GSI_NR; i++)
		FUZZ_CHECK(!fake_lines[i].level);
	pci_hw_release();
}

static uint64_t base_of(const struct func *f, unsigned int bar)
{
	uint64_t low = get_le32(f->pd.config + bar_reg(bar));

	if (kinds[bar] == PCI_BAR_IO)
		return low & ~3ull;
	return (low & ~15ull) | (kinds[bar] == PCI_BAR_MEM64
					 ? (uint64_t)get_le32(f->pd.config + bar_reg(bar + 1)) << 32
					 : 0);
}

/* Who answers, told by the rule in pci.h. */
static void check_bars(void)
{
	struct {
		bool io, on;
		uint64_t base, size;
	} b[FUNCS * PCI_BARS_NR] = { 0 };
	unsigned int ports = 0, mems = 0;

	for (unsigned int i = 0; i < FUNCS * PCI_BARS_NR; i++) {
		struct func *f = &funcs[i / PCI_BARS_NR];
		unsigned int n = i % PCI_BARS_NR;
		unsigned __int128 end;

		if (!kinds[n])
			continue;
		b[i].io = kinds[n] == PCI_BAR_IO;
		b[i].base = base_of(f, n);
		b[i].size = f->pd.bars[n].size;
		end = (unsigned __int128)b[i].base + b[i].size;
		FUZZ_CHECK(b[i].base % b[i].size == 0);
		b[i].on = get_le16(f->pd.config + PCI_COMMAND) &
			  (b[i].io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
		if (b[i].io)
			b[i].on &= b[i].base >= IO_BASE && end <= IO_BASE + IO_LEN;
		else
			b[i].on &= (b[i].base >= M32_BASE && end <= M32_BASE + M32_LEN) ||
				   (kinds[n] == PCI_BAR_MEM64 && b[i].base >= M64_BASE &&
				    end <= M64_BASE + M64_LEN);
		for (unsigned int j = 0; j < i; j++)
			if (b[j].on && b[j].io == b[i].io && b[j].base < end &&
			    b[i].base < b[j].base + b[j].size)
				b[i].on = false;
		FUZZ_CHECK(f->pd.bars[n].active == b[i].on);
		if (n != MSIX_BAR)
			FUZZ_CHECK(f->active[n] == b[i].on &&
				   (!b[i].on || f->addr[n] == b[i].base));
		ports += b[i].on && b[i].io;
		mems += b[i].on && !b[i].io;
	}
	FUZZ_CHECK(fake_bus.nr == 1 + ports && fake_mmio.nr == 1 + mems);
}

static void check_function(unsigned int i)
{
	const struct func *f = &funcs[i];
	const struct pci_device *pd = &f->pd;
	uint16_t control = get_le16(pd->config + MSIX_CAP + PCI_MSIX_FLAGS);
	bool enabled = control & PCI_MSIX_FLAGS_ENABLE;

	for (unsigned int at = 0; at < PCI_CONFIG_LEN; at++)
		FUZZ_CHECK(at == PCI_STATUS ||
			   !((pd->config[at] ^ pristine[i][at]) & ~pd->wmask[at]));
	FUZZ_CHECK(!((pd->config[PCI_STATUS] ^ pristine[i][PCI_STATUS]) & ~PCI_STATUS_INTERRUPT));
	FUZZ_CHECK(!!(pd->config[PCI_STATUS] & PCI_STATUS_INTERRUPT) == pd->intx);
	FUZZ_CHECK(pci_msix_enabled(pd) == enabled);
	FUZZ_CHECK(f->master == pd->bus_master);
	for (unsigned int v = 0; v < VECTORS; v++) {
		const struct pci_msix_vector *e = &pd->msix[v];
		bool held = (e->control & 1) || (control & PCI_MSIX_FLAGS_MASKALL) ||
			    !pd->bus_master;

		FUZZ_CHECK(!(e->control & ~1u) && !(e->addr_lo & 3));
		FUZZ_CHECK(!e->pending || (enabled && held));
	}
	bool line = pd->intx && !enabled &&
		    !(get_le16(pd->config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
	FUZZ_CHECK(fake_lines[GSI_FIRST + pd->slot % GSI_NR].level == line); /* none shares */
	if (fake_slot.there)
		FUZZ_CHECK(pd->config == fake_slot.host + (pd->slot << 15));
}

/* An interrupt is one message, or a pending bit, or nothing. */
static void interrupt(struct func *f, unsigned int v)
{
	const struct pci_msix_vector *e = &f->pd.msix[v];
	unsigned int before = fake_msis_nr;
	bool was = e->pending;

	pci_msix_signal(&f->pd, v);
	if (!pci_msix_enabled(&f->pd))
		FUZZ_CHECK(!e->pending && fake_msis_nr == before);
	else
		FUZZ_CHECK(e->pending == (fake_msis_nr == before) && (!was || e->pending));
}

/* Where BARs meet each other and the edges of the windows. */
static uint64_t place(uint8_t n)
{
	static const uint64_t edges[] = {
		M32_BASE,
		M32_BASE + M32_LEN,
		M64_BASE,
		M64_BASE + M64_LEN,
		IO_BASE,
		IO_BASE + IO_LEN,
		0,
		ECAM,
		M32_BASE + 0x100000,
		M32_BASE + 0x101000,
	};

	if (n & 0x80)
		return base_of(&funcs[n % FUNCS], (uint8_t[]){ 0, 1, 3, 4 }[n / FUNCS % 4]);
	return edges[n % ARRAY_SIZE(edges)] + (n & 0x40 ? -4096 : 0) + (n & 0x20 ? 4096 : 0);
}

static void bar_access(struct func *f, const uint8_t op[6], unsigned int width, uint64_t value)
{
	unsigned int bar = (uint8_t[]){ 0, 1, 3, 4 }[op[1] >> 2 & 3];
	uint64_t addr = base_of(f, bar) + (get_le16(op + 2) & 0xfff) - 4;

	if (op[1] & 0x10)
		addr = base_of(f, MSIX_BAR) + 2048 + op[2]; /* pending bits */
	if (kinds[bar] == PCI_BAR_IO && !(op[1] & 0x10)) {
		if (op[1] & 0x20)
			out(addr, width, value);
		else
			in(addr, width);
	} else if (op[1] & 0x20) {
		mem_out(addr, width, value);
	} else {
		mem_in(addr, width);
	}
}

static void step(const uint8_t op[6])
{
	struct func *f = &funcs[op[1] % FUNCS];
	unsigned int width = 1 + (op[0] >> 3 & 7);
	uint64_t value = op[0] & 0x40 ? op[4] * 0x0101010101010101ull
				      : (uint64_t)op[5] << 8 | op[4];
	uint32_t addr = (uint32_t)(op[1] & 7) << 15 | (op[1] & 0x80 ? 0x1000 : 0) | op[2] |
			(op[3] & 15u) << 8;

	switch (op[0] & 7) {
	case 0:
		read_ecam(addr, width);
		break;
	case 1:
		mem_out(ECAM + addr, width, value);
		break;
	case 2: /* CF8 and a port from there */
		if (op[0] & 0x80)
			out(0xcf8, 4, 1u << 31 | (uint32_t)op[1] << 11 | op[2] | (op[3] & 1u) << 8);
		else if (op[3] & 1)
			out(0xcf8 + op[2] % 8, width, value & ~0x0400ull);
		else
			in(0xcf8 + op[2] % 8, width);
		break;
	case 3:
		bar_access(f, op, width, value);
		break;
	case 4: {
		unsigned int bar = (uint8_t[]){ 0, 1, 3, 4 }[op[2] & 3];
		uint64_t to = place(op[4]);

		cfg_out(&f->pd, bar_reg(bar), 4, (uint32_t)to);
		if (kinds[bar] == PCI_BAR_MEM64)
			cfg_out(&f->pd, bar_reg(bar + 1), 4, to >> 32);
		break;
	}
	case 5:
		interrupt(f, op[2] % VECTORS);
		break;
	case 6:
		pci_intx_set(&f->pd, op[2] & 1);
		break;
	default:
		if (op[2] & 1)
			func_command(f, (uint16_t)value);
		else
			cfg_out(&f->pd, MSIX_CAP + PCI_MSIX_FLAGS, 2, (uint32_t)value);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	build();
	for (size_t at = 0; size - at >= 6; at += 6) {
		step(data + at);
		check_bars();
		for (unsigned int i = 0; i < FUNCS; i++)
			check_function(i);
	}
	demolish();
	return 0;
}
