/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/nearest.h>
#include <lkvm/util.h>

/* Names are short; what is longer than this is no typing error of one. */
#define NEAREST_LEN_MAX 40

/*
 * Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string
 * alignment), by rows: d[i][j] for the first i bytes of a and the first j of b.
 */
static unsigned int nearest_edits(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned int rows[3][NEAREST_LEN_MAX + 1];

	for (size_t j = 0; j <= blen; j++)
		rows[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= alen; i++) {
		unsigned int *row = rows[i % 3], *up = rows[(i - 1) % 3], *up2 = rows[(i + 1) % 3];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= blen; j++) {
			unsigned int best = up[j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, MIN(up[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, up2[j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[alen % 3][blen];
}

void nearest_offer(struct nearest *n, const char *name)
{
	size_t typed_len = strlen(n->typed), len = strlen(name);
	unsigned int edits, limit;

	if (typed_len > NEAREST_LEN_MAX || len > NEAREST_LEN_MAX)
		return;
	edits = nearest_edits(n->typed, typed_len, name, len);
	/* A third of the name may be wrong; of very short names nothing but one letter. */
	limit = MAX((unsigned int)len / 3, 1u);
	if (edits > limit || edits >= len)
		return;
	if (!n->best || edits < n->edits) {
		n->best = name;
		n->edits = edits;
	}
}
