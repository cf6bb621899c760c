/* SPDX-License-Identifier: GPL-2.0 */
#include <elf.h>
#include <errno.h>
#include <sys/procfs.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/core.h>
#include <lkvm/gmem.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#define PAGE_LEN      4096ULL
#define CHUNK_LEN     (64 * KIB)
#define LOADS_MAX     (GMEM_REGIONS_MAX + 1)
#define NOTE_NAME     "CORE"
#define NOTE_NAME_LEN 8 /* with its padding */

/* The note of a thread. What it describes begins at a multiple of 4. */
struct note {
	Elf64_Nhdr hdr;
	char name[NOTE_NAME_LEN];
	uint8_t status[sizeof(struct elf_prstatus)];
};

static int put(int fd, const void *buf, size_t len, uint64_t at)
{
	const uint8_t *from = buf;

	while (len) {
		ssize_t n = pwrite(fd, from, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		from += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int put_notes(const struct core *core, int fd, uint64_t at)
{
	for (unsigned int i = 0; i < core->vcpus_nr; i++) {
		/* A thread id of 0 is none. */
		struct elf_prstatus status = { .pr_pid = (pid_t)i + 1 };
		struct note n = {
			.hdr = { .n_namesz = sizeof(NOTE_NAME),
				 .n_descsz = sizeof(status),
				 .n_type = NT_PRSTATUS },
			.name = NOTE_NAME,
		};

		/* Without registers it is a thread all the same: its number stays true. */
		arch_vcpu_core_regs(&core->vcpus[i], &status.pr_reg);
		memcpy(n.status, &status, sizeof(status));
		int ret = put(fd, &n, sizeof(n), at + i * sizeof(n));
		if (ret)
			return ret;
	}
	return 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* The pages that are not zero; a device may still write to them, so a copy is looked at. */
static int put_chunk(int fd, uint8_t *copy, const uint8_t *host, size_t len, uint64_t at)
{
	gmem_copy(copy, host, len);
	for (size_t off = 0, end; off < len; off = end) {
		bool zero = is_zero(copy + off, PAGE_LEN);

		for (end = off + PAGE_LEN; end < len; end += PAGE_LEN)
			if (is_zero(copy + end, PAGE_LEN) != zero)
				break;
		int ret = zero ? 0 : put(fd, copy + off, end - off, at + off);
		if (ret)
			return ret;
	}
	return 0;
}

static int put_memory(const struct core *core, int fd, uint64_t at)
{
	uint8_t *copy = malloc(CHUNK_LEN);
	int ret = copy ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < core->gm->regions_nr; i++) {
		const struct gmem_region *r = &core->gm->regions[i];

		for (uint64_t off = 0; !ret && off < r->size; off += CHUNK_LEN)
			ret = put_chunk(fd, copy, r->host + off, MIN(CHUNK_LEN, r->size - off),
					at + off);
		at += r->size;
	}
	free(copy);
	/* The last pages may be a hole. */
	if (!ret && ftruncate(fd, (off_t)at))
		ret = -errno;
	return ret;
}

/* What the first vCPU that runs in the kernel sees. */
static unsigned int find_maps(const struct core *core, struct arch_map maps[ARCH_MAPS_MAX])
{
	unsigned int nr = 0;

	for (unsigned int i = 0; !nr && i < core->vcpus_nr; i++)
		nr = arch_vcpu_kernel_maps(&core->vcpus[i], core->gm, maps);
	return nr;
}

/* The segments: all of RAM, and its part that is mapped once more, as the kernel's image. Their contents are at `at`. */
static unsigned int list_loads(const struct core *core, uint64_t at, Elf64_Phdr loads[LOADS_MAX])
{
	struct arch_map maps[ARCH_MAPS_MAX];
	unsigned int maps_nr = find_maps(core, maps), nr = 0;

	for (unsigned int i = 0; i < core->gm->regions_nr; i++) {
		const struct gmem_region *r = &core->gm->regions[i];
		bool mapped = maps_nr && range_ok(r->gpa, r->size, maps[0].len);

		loads[nr++] = (Elf64_Phdr){
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_W | PF_X,
			.p_offset = at,
			.p_vaddr = r->gpa + (mapped ? maps[0].vaddr : 0),
			.p_paddr = r->gpa,
			.p_filesz = r->size,
			.p_memsz = r->size,
			.p_align = PAGE_LEN,
		};
		at += r->size;
	}
	if (maps_nr == ARCH_MAPS_MAX) {
		loads[nr] = loads[0];
		loads[nr].p_vaddr = maps[1].vaddr;
		loads[nr].p_filesz = loads[nr].p_memsz = MIN(maps[1].len, loads[0].p_filesz);
		nr++;
	}
	return nr;
}

int core_write(const struct core *core, int fd)
{
	Elf64_Phdr phdrs[1 + LOADS_MAX];
	uint64_t notes_at = sizeof(Elf64_Ehdr) + sizeof(phdrs);
	uint64_t notes_len = core->vcpus_nr * sizeof(struct note);
	uint64_t memory_at = align_up(notes_at + notes_len, PAGE_LEN);

	unsigned int nr = list_loads(core, memory_at, phdrs + 1);
	phdrs[0] = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = notes_at, .p_filesz = notes_len, .p_align = 4
	};
	const Elf64_Ehdr e = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = arch_elf_machine,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(e),
		.e_ehsize = sizeof(e),
		.e_phentsize = sizeof(phdrs[0]),
		.e_phnum = (uint16_t)(1 + nr),
	};

	int ret = put(fd, &e, sizeof(e), 0);
	if (!ret)
		ret = put(fd, phdrs, (1 + nr) * sizeof(phdrs[0]), sizeof(e));
	if (!ret)
		ret = put_notes(core, fd, notes_at);
	return ret ? ret : put_memory(core, fd, memory_at);
}
