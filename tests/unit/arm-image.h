/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small arm64 Image, for tests to damage.
 */
#ifndef LKVM_TESTS_ARM_IMAGE_H
#define LKVM_TESTS_ARM_IMAGE_H

#include <stdint.h>
#include <string.h>

#include <lkvm/util.h>

#define ARM_IMAGE_LEN   0x1000 /* of the file */
#define ARM_IMAGE_SIZE  0x9000 /* of memory */
#define ARM_IMAGE_TEXT  0
#define ARM_IMAGE_FLAGS 0xa /* 4 KiB pages, anywhere */

/* Offsets in the header. */
enum { ARM_AT_TEXT = 8, ARM_AT_SIZE = 16, ARM_AT_FLAGS = 24, ARM_AT_MAGIC = 56 };

static inline void arm_image_make(uint8_t *image)
{
	for (unsigned int i = 0; i < ARM_IMAGE_LEN; i++)
		image[i] = (uint8_t)(i * 7);
	/* "MZ" and the offset of a PE header: the EFI stub's. */
	memcpy(image, "MZ", 2);
	memset(image + 2, 0, 62);
	put_le64(image + ARM_AT_TEXT, ARM_IMAGE_TEXT);
	put_le64(image + ARM_AT_SIZE, ARM_IMAGE_SIZE);
	put_le64(image + ARM_AT_FLAGS, ARM_IMAGE_FLAGS);
	memcpy(image + ARM_AT_MAGIC, "ARM\x64", 4);
}

#endif
