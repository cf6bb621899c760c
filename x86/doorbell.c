/* SPDX-License-Identifier: GPL-2.0 */
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <lkvm/arch.h>

#include "doorbell.h"

bool doorbell_prefers_port(const char vendor[CPUID_VENDOR_LEN], const char *release)
{
	unsigned long major, minor;
	char *end;

	/* Hygon's CPUs are AMD's design, and KVM's module for both is the same. */
	if (memcmp(vendor, "AuthenticAMD", CPUID_VENDOR_LEN) &&
	    memcmp(vendor, "HygonGenuine", CPUID_VENDOR_LEN))
		return false;
	major = strtoul(release, &end, 10);
	if (end == release || *end != '.')
		return false;
	release = end + 1;
	minor = strtoul(release, &end, 10);
	if (end == release)
		return false;
	return major < 6 || (major == 6 && minor < 8);
}

bool arch_prefers_port_doorbells(void)
{
	unsigned int max, word[3];
	char vendor[CPUID_VENDOR_LEN];
	struct utsname host;

	if (!__get_cpuid(0, &max, &word[0], &word[2], &word[1]) || uname(&host))
		return false;
	memcpy(vendor, word, sizeof(vendor));
	return doorbell_prefers_port(vendor, host.release);
}
