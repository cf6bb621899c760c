/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/run-foreign.h>
#include <lkvm/util.h>

#define DISK  "lkvm spells it --disk FILE[,KEY=VALUE...] or -d; its keys are in `lkvm help run`"
#define CDROM "lkvm has no CD-ROM drive; --disk FILE,ro gives the guest the image as a disk"
#define OVERLAY                                                                                    \
	"lkvm spells it overlay=ephemeral, a key of each disk: --disk FILE,overlay=ephemeral"
#define IS_NET "lkvm spells it --network mode=MODE[,KEY=VALUE...]; `lkvm help run` lists the keys"
#define IS_HOST_NET                                                                                \
	"lkvm gives no addresses; on the host `ip address add` does, or the script of "            \
	"--network mode=tap,script=FILE"
#define IS_GUEST_NET                                                                               \
	"lkvm runs nothing in the guest; it asks for its address by DHCP or has it configured"
#define NO_SHARE                                                                                   \
	"lkvm does not share host directories yet; put the files into an initramfs (--initrd)"
#define NO_GRAPHICS "lkvm has no graphics; the console is the serial port"
#define NO_DEVICE   "lkvm does not have this device yet"
#define NO_OPTION_DEVICE                                                                           \
	"lkvm has an option for each device: --disk is virtio-blk-pci, --network virtio-net-pci, " \
	"--rng "                                                                                   \
	"virtio-rng-pci, --debug-exit PORT isa-debug-exit; there are no others yet"
#define NO_OBJECT                                                                                  \
	"lkvm has no objects: --rng=SOURCE is rng-random, iothread=NAME a key of each device, "    \
	"--mem-shared and --hugetlbfs DIR choose the memory"
#define NO_DEBUG    "lkvm has no debugger stub yet"
#define NO_FIRMWARE "lkvm boots kernels without firmware; there is nothing to choose"
#define IS_DEFAULT  "lkvm always does this; leave it out"

const struct option_foreign run_foreign[] = {
	/* QEMU, by its single dash; the same with two dashes where people write that. */
	{ "-kernel", "lkvm spells it --kernel FILE or -k FILE" },
	{ "-initrd", "lkvm spells it --initrd FILE or -i FILE" },
	{ "-append", "lkvm spells it --params WORDS or -p WORDS" },
	{ "--append", "lkvm spells it --params WORDS or -p WORDS" },
	{ "-smp", "lkvm spells it --cpus N or -c N" },
	{ "--smp", "lkvm spells it --cpus N or -c N" },
	{ "-cpu", "lkvm gives the guest the host's CPU; there is nothing to choose" },
	{ "--cpu", "lkvm gives the guest the host's CPU; for their number it is --cpus N" },
	{ "-mem-path", "lkvm spells it --hugetlbfs DIR" },
	{ "-mem-prealloc", "lkvm touches memory when the guest does; there is no such option" },
	{ "-name", "lkvm spells it --name NAME" },
	{ "-serial", "lkvm connects ttyS0 to stdin and stdout; --console none turns that off" },
	{ "--serial", "lkvm connects ttyS0 to stdin and stdout; --console none turns that off" },
	{ "-chardev", "lkvm connects ttyS0 to stdin and stdout; --console none turns that off" },
	{ "-nographic", IS_DEFAULT },
	{ "--nographic", IS_DEFAULT },
	{ "-display", NO_GRAPHICS },
	{ "--display", NO_GRAPHICS },
	{ "-vga", NO_GRAPHICS },
	{ "-vnc", NO_GRAPHICS },
	{ "-spice", NO_GRAPHICS },
	{ "-enable-kvm", IS_DEFAULT },
	{ "--enable-kvm", IS_DEFAULT },
	{ "-accel", "lkvm uses KVM and nothing else; leave it out" },
	{ "-machine", "lkvm has one machine; --no-acpi takes ACPI out of it" },
	{ "-M", "lkvm has one machine; --no-acpi takes ACPI out of it" },
	{ "-no-acpi", "lkvm spells it --no-acpi" },
	{ "-no-reboot", "lkvm ends when the guest resets, with status 200; leave it out" },
	{ "--no-reboot", "lkvm ends when the guest resets, with status 200; leave it out" },
	{ "-action", "lkvm spells what a reset does --on-reset exit|restart" },
	{ "-run-with", "lkvm spells exit-with-parent=on --die-with-parent" },
	{ "--exit-with-parent", "lkvm spells it --die-with-parent" },
	{ "-no-shutdown",
	  "lkvm ends when the guest powers off, with status 0; there is no such option" },
	{ "-nodefaults", "lkvm spells it --nodefaults" },
	{ "-no-user-config", "lkvm reads no configuration files; leave it out" },
	{ "-drive", DISK },
	{ "--drive", DISK },
	{ "-hda", DISK },
	{ "-hdb", DISK },
	{ "-cdrom", CDROM },
	{ "-blockdev", DISK },
	{ "-boot", "lkvm boots the kernel that --kernel names; --boot chooses how" },
	{ "-snapshot", OVERLAY },
	{ "-netdev", IS_NET },
	{ "-net", IS_NET },
	{ "-nic", IS_NET },
	{ "-device", NO_OPTION_DEVICE },
	{ "--device", NO_OPTION_DEVICE },
	{ "-object", NO_OBJECT },
	{ "--object", NO_OBJECT },
	{ "-virtfs", NO_SHARE },
	{ "-fsdev", NO_SHARE },
	{ "-bios", NO_FIRMWARE },
	{ "-pflash", NO_FIRMWARE },
	{ "-monitor", "lkvm has no monitor yet; Ctrl-A x stops the guest" },
	{ "-qmp", "lkvm has no control socket yet" },
	{ "-gdb", NO_DEBUG },
	{ "-s", NO_DEBUG },
	{ "-S", NO_DEBUG },
	{ "-D", "lkvm logs to stderr; --log FILE gets a copy of the console" },
	{ "-daemonize", "lkvm stays in the foreground; let the shell put it in the background" },
	{ "-pidfile", "lkvm stays in the foreground; its parent knows its process id" },
	{ "-rtc", "lkvm's clock is the host's, in UTC; there is nothing to choose" },
	{ "-watchdog", NO_DEVICE },
	{ "-usb", "lkvm has no USB" },
	{ "-version", "the command is `lkvm version`" },
	{ "--version", "the command is `lkvm version`" },
	{ "-help", "the command is `lkvm help run`" },

	/* kvmtool. */
	{ "--no-dhcp", IS_GUEST_NET },
	{ "--tty", "lkvm connects ttyS0 to stdin and stdout; it makes no terminals yet" },
	{ "--9p", NO_SHARE },
	{ "--rootfs", "lkvm spells it --root NAME, of a folder that `lkvm setup NAME` made" },
	{ "--sandbox", "lkvm runs what follows --: lkvm sandbox [OPTIONS] -- COMMAND" },
	{ "--balloon", NO_DEVICE },
	{ "--vsock", NO_DEVICE },
	{ "--pmem", NO_DEVICE },
	{ "--shmem", NO_DEVICE },
	{ "--vfio-pci", NO_DEVICE },
	{ "--sdl", NO_GRAPHICS },
	{ "--gtk", NO_GRAPHICS },
	{ "--vnc", NO_GRAPHICS },
	{ "--vidmode", NO_GRAPHICS },
	{ "--firmware", NO_FIRMWARE },
	{ "--firmware-address", NO_FIRMWARE },
	{ "--flash", NO_FIRMWARE },
	{ "--hugetlbfs-path", "lkvm spells it --hugetlbfs DIR" },
	{ "--debug-single-step", NO_DEBUG },
	{ "--debug-ioport", "lkvm has no such trace yet" },
	{ "--debug-mmio", "lkvm has no such trace yet" },
	{ "--debug-iodelay",
	  "lkvm has a key of each disk for it: --disk FILE,fault=any:delay=10ms" },
	{ "--debug-nohostfs", "lkvm shares nothing of the host; leave it out" },
	{ "--no-pvtime", "lkvm has no such option; the guest's no-steal-acc parameter does it" },
	{ "--host_ip", IS_HOST_NET },
	{ "--guest_ip", IS_GUEST_NET },
	{ "--host_mac", IS_HOST_NET },
	{ "--guest_mac", "lkvm spells it --network mode=MODE,mac=ADDRESS" },
	{ "--script", "lkvm spells it --network mode=tap,script=FILE" },
	{ "--cmdline", "lkvm spells it --params WORDS or -p WORDS" },
	{ "--memory", "lkvm spells it --mem SIZE or -m SIZE" },
};

const unsigned int run_foreign_nr = ARRAY_SIZE(run_foreign);
