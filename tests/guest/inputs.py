# SPDX-License-Identifier: GPL-2.0
"""The files that the guest tests boot or fail to boot: bzImages around the payload, and damaged kernels."""
import bz2
import lzma
import os
import struct
import zlib

# Offsets in the setup header: Documentation/arch/x86/boot.rst.
SETUP_SECTS, SYSSIZE, BOOT_FLAG, JUMP, MAGIC, VERSION = 0x1f1, 0x1f4, 0x1fe, 0x200, 0x202, 0x206
LOADFLAGS, CODE32, RAMDISK_MAX, ALIGNMENT, XLOADFLAGS = 0x211, 0x214, 0x22c, 0x230, 0x236
CMDLINE_SIZE, PAYLOAD_OFF, PAYLOAD_LEN, PREF, INIT_SIZE = 0x238, 0x248, 0x24c, 0x258, 0x260
HEADER_END = 0x268
LOAD_ADDR = 0x200000


def elf_segments(elf):
    phoff, = struct.unpack_from("<Q", elf, 32)
    phentsize, phnum = struct.unpack_from("<HH", elf, 54)
    for i in range(phnum):
        at = phoff + i * phentsize
        kind, _, off, _, paddr, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", elf, at)
        yield at, kind, off, paddr, filesz, memsz


def elf_flat(elf):
    """The loaded image's bytes from LOAD_ADDR on, and how much memory it takes with its bss."""
    image, size = bytearray(), 0
    for _, kind, off, paddr, filesz, memsz in elf_segments(elf):
        if kind == 1:
            image.extend(bytes(paddr - LOAD_ADDR - len(image)))
            image.extend(elf[off:off + filesz])
            size = max(size, paddr - LOAD_ADDR + memsz)
    return bytes(image), size


# Compressors as the kernel's build uses them: all but gzip are followed by the size. The two that Python
# does not have store the bytes in their format without making them smaller.

def gzip(data):
    c = zlib.compressobj(9, zlib.DEFLATED, 31)
    return c.compress(data) + c.flush()


def sized(stream, data):
    return stream + struct.pack("<I", len(data))


def lz4_block(data):
    if len(data) < 15:
        return bytes([len(data) << 4]) + data
    full, last = divmod(len(data) - 15, 255)
    return b"\xf0" + b"\xff" * full + bytes([last]) + data


def lz4(data):
    out = struct.pack("<I", 0x184c2102)
    for i in range(0, len(data), 8 << 20):
        block = lz4_block(data[i:i + (8 << 20)])
        out += struct.pack("<I", len(block)) + block
    return sized(out, data)


def zstd(data):
    out = struct.pack("<IBI", 0xfd2fb528, 0xa0, len(data))
    for i in range(0, len(data), 128 << 10):
        block = data[i:i + (128 << 10)]
        last = i + len(block) == len(data)
        out += struct.pack("<I", last | len(block) << 3)[:3] + block
    return sized(out, data)


def xz(data):
    return sized(lzma.compress(data, check=lzma.CHECK_CRC32), data)


COMPRESSORS = {"gzip": gzip, "xz": xz, "bzip2": lambda d: sized(bz2.compress(d), d), "lz4": lz4,
               "zstd": zstd}


def bzimage(elf, payload=b""):
    """A bzImage: header, the flat payload program, then `payload` as its compressed kernel."""
    code, size = elf_flat(elf)
    code += bytes(size - len(code)) # the bss too: what follows would lie in it
    code += bytes(-len(code) % 16)
    body = code + payload
    body += bytes(-len(body) % 16)
    h = bytearray(2 * 512)

    def put(fmt, off, value):
        struct.pack_into("<" + fmt, h, off, value)
    put("B", SETUP_SECTS, 1)
    put("I", SYSSIZE, len(body) // 16)
    put("H", BOOT_FLAG, 0xaa55)
    put("B", JUMP, 0xeb)
    put("B", JUMP + 1, HEADER_END - JUMP - 2)
    h[MAGIC:MAGIC + 4] = b"HdrS"
    put("H", VERSION, 0x20f)
    put("B", LOADFLAGS, 1)
    put("I", CODE32, 0x100000)
    put("I", RAMDISK_MAX, 0x7fffffff)
    put("I", ALIGNMENT, 0x200000)
    put("H", XLOADFLAGS, 1)
    put("I", CMDLINE_SIZE, 2047)
    put("I", PAYLOAD_OFF, len(code) if payload else 0)
    put("I", PAYLOAD_LEN, len(payload))
    put("Q", PREF, LOAD_ADDR)
    put("I", INIT_SIZE, len(body))
    return bytes(h) + body


def patched(data, fmt, off, value):
    out = bytearray(data)
    struct.pack_into("<" + fmt, out, off, value)
    return bytes(out)


def bad_elves(elf):
    """Name and bytes of ELF files that must be refused."""
    loads = [s for s in elf_segments(elf) if s[1] == 1]
    first, second = loads[0][0], loads[1][0]
    phoff = struct.unpack_from("<Q", elf, 32)[0]
    # fields of a program header: type 0, offset 8, vaddr 16, paddr 24, filesz 32, memsz 40
    yield "elf32", patched(elf, "B", 4, 1)
    yield "elf-big-endian", patched(elf, "B", 5, 2)
    yield "elf-arm64", patched(elf, "H", 18, 183)
    yield "elf-relocatable", patched(elf, "H", 16, 1)
    yield "elf-no-headers", patched(elf, "H", 56, 0)
    yield "elf-many-headers", patched(elf, "H", 56, 0xffff)
    yield "elf-header-size", patched(elf, "H", 54, 1)
    yield "elf-phoff-outside", patched(elf, "Q", 32, len(elf))
    yield "elf-phoff-wraps", patched(elf, "Q", 32, 2**64 - 8)
    yield "elf-no-load", patched(patched(elf, "I", first, 4), "I", second, 4)
    yield "elf-overlap", patched(elf, "Q", second + 24, LOAD_ADDR)
    yield "elf-huge", patched(elf, "Q", second + 40, 2**62)
    yield "elf-wraps", patched(elf, "Q", second + 24, 2**64 - 4096)
    yield "elf-in-hole", patched(elf, "Q", second + 24, 0xc0000000)
    yield "elf-above-ram", patched(elf, "Q", second + 24, 2**40)
    yield "elf-at-zero", patched(elf, "Q", second + 24, 0)
    yield "elf-in-tables", patched(elf, "Q", second + 24, 0x8000)
    yield "elf-filesz-above-memsz", patched(elf, "Q", second + 40, 16)
    yield "elf-offset-outside", patched(elf, "Q", second + 8, len(elf))
    yield "elf-offset-wraps", patched(elf, "Q", second + 8, 2**64 - 4096)
    yield "elf-entry-outside", patched(elf, "Q", 24, 0x30000000)
    yield "elf-entry-zero", patched(elf, "Q", 24, 0)
    for cut in (5, 16, 20, 24, 40, 63, phoff + 1, phoff + 56, phoff + 112, loads[0][2] + 100,
                loads[1][2] + loads[1][4] - 1):
        yield "elf-cut-%d" % cut, elf[:cut]


def bad_bzimages(elf):
    """Name and bytes of bzImages that must be refused, whatever --boot says."""
    good = bzimage(elf, gzip(elf))
    for cut in (1, 0x1f1, 0x1f2, 0x1f4, 0x1f8, 0x1fe, 0x200, 0x201, 0x202, 0x204, 0x206, 0x208, 0x211,
                0x214, 0x22c, 0x230, 0x236, 0x238, 0x248, 0x24c, 0x250, 0x258, 0x260, 0x264, 0x268, 0x400,
                0x401, 0x5ff, 0x600, len(good) // 2, len(good) - 17):
        yield "bz-cut-0x%x" % cut, good[:cut]
    yield "bz-sects", patched(good, "B", SETUP_SECTS, 255)
    yield "bz-syssize", patched(good, "I", SYSSIZE, 0xffffffff)
    yield "bz-boot-flag", patched(good, "H", BOOT_FLAG, 0)
    yield "bz-jump", patched(good, "B", JUMP + 1, 2)
    yield "bz-old", patched(good, "H", VERSION, 0x0204)
    yield "bz-zimage", patched(good, "B", LOADFLAGS, 0)
    yield "bz-32bit", patched(good, "H", XLOADFLAGS, 0)


def bad_places(elf):
    """Name and bytes of bzImages that cannot be put where they want to be: for --boot bzimage."""
    good = bzimage(elf)
    yield "bz-init-size", patched(good, "I", INIT_SIZE, 0xffffffff)
    yield "bz-pref", patched(good, "Q", PREF, 2**64 - 4096)


def bad_payloads(elf):
    """Name and bytes of bzImages whose compressed kernel is refused: for --boot vmlinux."""
    zipped = gzip(elf)
    good = bzimage(elf, zipped)
    yield "bz-payload-offset", patched(good, "I", PAYLOAD_OFF, 0xfffffff0)
    yield "bz-payload-length", patched(good, "I", PAYLOAD_LEN, 0xfffffff0)
    yield "bz-payload-none", bzimage(elf)
    yield "bz-payload-unknown", bzimage(elf, b"no such compression, at some length" * 9)
    yield "bz-payload-no-elf", bzimage(elf, gzip(b"x" * 100000))
    for name, compress in COMPRESSORS.items():
        stream = compress(elf)
        middle = len(stream) // 2
        yield "bz-%s-cut" % name, bzimage(elf, stream[:middle])
        if name not in ("lz4", "zstd"): # these two store bytes here, and have no checksum over them
            broken = stream[:middle] + bytes(b ^ 0xff for b in stream[middle:middle + 64]) + stream[middle + 64:]
            yield "bz-%s-damaged" % name, bzimage(elf, broken)
        if name != "gzip":
            yield "bz-%s-claims-4g" % name, bzimage(elf, stream[:-4] + b"\xff\xff\xff\xff")
    # more than it claims, and a claim of gigabytes
    stream = gzip(bytes(64 << 20))
    yield "bz-gzip-more", bzimage(elf, patched(stream, "I", len(stream) - 4, 65536))
    yield "bz-gzip-claims-4g", bzimage(elf, patched(zipped, "I", len(zipped) - 4, 0xffffffff))


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def write_misc(dirname, elf):
    """The files that bad-input.txt names."""
    def at(name):
        return os.path.join(dirname, name)
    write(at("empty"), b"")
    write(at("random"), bytes((i * 7919 + (i >> 5) * 31) & 0xff for i in range(1, 100001)))
    write(at("text"), b"#!/bin/sh\necho this is no kernel\n" * 100)
    os.chmod(write(at("program"), b"#!/bin/sh\n"), 0o755)
    write(at("arm64-image"), patched(bytes(4096), "I", 56, 0x644d5241))
    write(at("bzimage"), bzimage(elf, gzip(elf)))
    write(at("map"), b"ffffffff81000000 T panic\n")
    write(at("nopanic"), b"ffffffff81000000 T main\n")
    write(at("zeros"), b"0000000000000000 T panic\n")
    write(at("initrd"), b"070701 not really" * 100)
    with open(at("big"), "wb") as f:
        f.truncate(1 << 30)
    write(at("disk"), bytes(1 << 20))
    write(at("small"), bytes(511))
    os.mkdir(at("dir"))
    write(at("readonly"), b"")
    os.mkfifo(at("fifo"))
