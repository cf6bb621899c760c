/* SPDX-License-Identifier: GPL-2.0 */
// ARCH: x86
// LINK: x86/doorbell.c
/* Where a doorbell costs least, by the host's CPU and kernel. */
#include "unit.h"

#include "x86/doorbell.h"

static const struct {
	const char *vendor, *release;
	bool port;
} hosts[] = {
	{ "AuthenticAMD", "6.1.0-37-amd64", true },
	{ "AuthenticAMD", "6.7.12", true },
	{ "AuthenticAMD", "5.10.0-32-cloud-amd64", true },
	{ "AuthenticAMD", "4.18.0-553.el8.x86_64", true },
	{ "AuthenticAMD", "6.8.0-31-generic", false },
	{ "AuthenticAMD", "6.12.41+deb13-amd64", false },
	{ "AuthenticAMD", "6.10", false },
	{ "AuthenticAMD", "7.0.0", false },
	{ "AuthenticAMD", "10.1", false },
	{ "HygonGenuine", "6.1.0", true },
	{ "HygonGenuine", "6.8.0", false },
	{ "GenuineIntel", "6.1.0-37-amd64", false },
	{ "GenuineIntel", "4.18.0", false },
	{ "CentaurHauls", "6.1.0", false },
	{ "AuthenticAM ", "6.1.0", false },
	{ "AuthenticAMD", "", false },
	{ "AuthenticAMD", "6", false },
	{ "AuthenticAMD", "next", false },
};

START_TEST(by_cpu_and_kernel)
{
	ck_assert_msg(doorbell_prefers_port(hosts[_i].vendor, hosts[_i].release) == hosts[_i].port,
		      "%s on Linux %s", hosts[_i].vendor, hosts[_i].release);
}
END_TEST

UNIT_SUITE("doorbell-place",
	   { tcase_add_loop_test(tc, by_cpu_and_kernel, 0, sizeof(hosts) / sizeof(hosts[0])); })
