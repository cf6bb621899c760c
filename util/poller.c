/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/poller.h>
#include <lkvm/thread.h>
#include <lkvm/util.h>

struct poller {
	char *name;
	struct loop *loop;
	pthread_t thread;
	bool started;
	struct loop_post hello; /* runs once the loop is served */
	sem_t served;
	struct poller *next;
};

struct pollers {
	struct poller *first, **last;
};

struct pollers *pollers_new(struct err *err)
{
	struct pollers *set = calloc(1, sizeof(*set));

	if (!set)
		err_host(err, ENOMEM, "cannot make poller threads");
	else
		set->last = &set->first;
	return set;
}

static void poller_free(struct poller *p)
{
	if (p->loop)
		loop_free(p->loop);
	sem_destroy(&p->served);
	free(p->name);
	free(p);
}

static void on_hello(struct loop_post *post)
{
	sem_post(&container_of(post, struct poller, hello)->served);
}

static struct poller *poller_new(const char *name, struct err *err)
{
	struct poller *p = calloc(1, sizeof(*p));

	if (p)
		p->name = strdup(name);
	if (!p || !p->name) {
		free(p);
		err_host(err, ENOMEM, "cannot make a poller thread");
		return NULL;
	}
	sem_init(&p->served, 0, 0);
	p->hello.fn = on_hello;
	p->loop = loop_new(err);
	if (p->loop)
		return p;
	poller_free(p);
	return NULL;
}

struct loop *pollers_get(struct pollers *set, const char *name, struct err *err)
{
	for (struct poller *p = set->first; p; p = p->next)
		if (strcmp(p->name, name) == 0)
			return p->loop;
	struct poller *p = poller_new(name, err);
	if (!p)
		return NULL;
	*set->last = p;
	set->last = &p->next;
	return p->loop;
}

static void *serve(void *arg)
{
	struct poller *p = arg;

	loop_run(p->loop);
	return NULL;
}

int pollers_start(struct pollers *set, struct err *err)
{
	for (struct poller *p = set->first; p; p = p->next) {
		loop_post(p->loop, &p->hello);
		int ret = thread_start(&p->thread, p->name, -1, serve, p);
		if (ret)
			return err_host(err, -ret, "cannot start the poller thread \"%s\"",
					p->name);
		p->started = true;
	}
	/* A loop_call() from here on is the thread's to run, never the caller's. */
	for (struct poller *p = set->first; p; p = p->next)
		while (sem_wait(&p->served) < 0)
			;
	return 0;
}

void pollers_stop(struct pollers *set)
{
	for (struct poller *p = set->first; p; p = p->next)
		if (p->started)
			loop_stop(p->loop);
	for (struct poller *p = set->first; p; p = p->next) {
		if (p->started)
			pthread_join(p->thread, NULL);
		p->started = false;
	}
}

void pollers_free(struct pollers *set)
{
	pollers_stop(set);
	while (set->first) {
		struct poller *p = set->first;

		set->first = p->next;
		loop_post_cancel(p->loop, &p->hello);
		poller_free(p);
	}
	free(set);
}
