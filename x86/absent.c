/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/board.h>

const char *const board_absent_options[] = { "irqchip", "pmu", "dump-dtb", NULL };
