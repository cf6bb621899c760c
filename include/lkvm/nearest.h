/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The known name that a mistyped one probably meant.
 *
 *   struct nearest n = NEAREST_INIT(typed);
 *   for (...)
 *           nearest_offer(&n, names[i]);
 *   if (n.best)
 *           "did you mean %s?"
 */
#ifndef LKVM_NEAREST_H
#define LKVM_NEAREST_H

struct nearest {
	const char *typed;
	const char *best;   /* NULL: nothing is near enough to be a typing error */
	unsigned int edits; /* of `best` */
};

#define NEAREST_INIT(name) ((struct nearest){ .typed = (name) })

/* `name` must stay as long as `best` is used. Of equally near names the first offered wins. */
void nearest_offer(struct nearest *n, const char *name);

#endif
