# SPDX-License-Identifier: GPL-2.0
# lkvm's build. `make help` lists the targets.
#
#   ARCH=x86|arm64        the guest and host architecture (default: this machine's)
#   CROSS_COMPILE=PREFIX  a cross toolchain's prefix; `make ARCH=arm64 sysroot` fetches the libraries for it
#   STATIC=1              a static lkvm, which cannot load the libraries that decompress kernels and the like
#   O=DIR                 where objects and tests are built (default: build)
#   DEVELOPER=1           warnings are errors, and more of them
#   SANITIZE=address,undefined | thread
#   V=1                   print the commands

O            ?= build
PREFIX       ?= /usr/local
DESTDIR      ?=
ARCH         ?= $(shell uname -m | sed -e 's/x86_64/x86/' -e 's/aarch64/arm64/')
ARCHDIR      := $(if $(filter arm64,$(ARCH)),arm,$(ARCH))
PKG_CONFIG   ?= pkg-config
CLANG_FORMAT ?= clang-format

ifneq ($(CROSS_COMPILE),)
CC := $(CROSS_COMPILE)gcc
endif

Q := $(if $(V),,@)

ifeq ($(wildcard $(ARCHDIR)/memmap.h),)
ifeq ($(filter layers clean help,$(MAKECMDGOALS)),)
$(error ARCH=$(ARCH) is not supported: supported are x86 and arm64)
endif
endif

VERSION := $(shell cat VERSION)

# Compiler flags
WARN := -Wall
ifeq ($(DEVELOPER),1)
WARN += -Werror -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wtype-limits
endif
CPPFLAGS += -Iinclude -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DLKVM_VERSION='"$(VERSION)"'
CFLAGS   ?= -O2 -g
CFLAGS   += -std=gnu11 -pthread $(WARN) -fPIE -fstack-protector-strong -fno-strict-aliasing -fno-common
LDFLAGS  += $(if $(STATIC),-static-pie,-pie) -pthread -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed
ifneq ($(SANITIZE),)
CFLAGS   += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
LDFLAGS  += -fsanitize=$(SANITIZE)
else
CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
# Clang checks the lock annotations.
ifneq ($(findstring clang,$(CC)),)
WARN += -Wthread-safety
endif
DEPFLAGS = -MMD -MP

# A cross build has the headers and libraries of Debian's packages for that architecture.
ifneq ($(CROSS_COMPILE),)
SYSROOT  ?= $(or $(LKVM_DOWNLOADS),.downloads)/sysroot-$(ARCH)
CPPFLAGS += -idirafter $(SYSROOT)/usr/include
LDFLAGS  += -L$(SYSROOT)/usr/lib/$(patsubst %-,%,$(notdir $(CROSS_COMPILE)))
endif

# Dependencies. tests/packages is the one list of them; its `build` rows are checked here, all at once.
ifeq ($(filter clean help lint layers format distclean demo check sysroot,$(MAKECMDGOALS)),)
ifeq ($(CROSS_COMPILE),)
MISSING := $(shell PKG_CONFIG="$(PKG_CONFIG)" CC="$(CC)" tests/missing build $(ARCH))
ifneq ($(MISSING),)
$(error missing to build lkvm: install the Debian packages $(MISSING))
endif
else ifeq ($(wildcard $(SYSROOT)/usr/include),)
$(error missing to build lkvm for $(ARCH): the libraries, which `make ARCH=$(ARCH) sysroot` fetches)
endif
endif

# Sources: every file of a folder belongs to the build.
SRCS := $(wildcard *.c util/*.c block/*.c chr/*.c net/*.c hw/*.c virtio/*.c $(ARCHDIR)/*.c)
OBJS := $(SRCS:%.c=$(O)/%.o)
# Libraries are loaded at run time, when a kernel or a disk needs them: nothing but libc is linked.
LIBS := -ldl
# But for what every boot needs, and that is small.
LIBS += $(if $(filter arm64,$(ARCH)),-l:libfdt.a)

.PHONY: all
all: lkvm

$(O)/lkvm: $(OBJS)
	@echo "  LINK    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

lkvm: $(O)/lkvm
	$(Q)ln -f $< $@ 2>/dev/null || cp -f $< $@

$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPFLAGS) -c -o $@ $<

# Objects are rebuilt when the compiler or its flags change.
FLAGS := $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

-include $(OBJS:.o=.d)

include guest/Makefile.inc
include tests/Makefile.inc

.PHONY: sysroot
sysroot:
	tests/lab/fetch sysroot-$(ARCH)

.PHONY: install
install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 lkvm $(DESTDIR)$(PREFIX)/bin/lkvm

.PHONY: clean distclean
clean:
	rm -rf $(O) lkvm
distclean: clean
	rm -rf build* .downloads

.PHONY: format
format:
	$(CLANG_FORMAT) -i $$(git ls-files '*.c' '*.h')

.PHONY: help
help:
	@sed -n 's/^## //p' Makefile tests/Makefile.inc tests/*/Makefile.inc

.PHONY: FORCE
FORCE:

## all            build ./lkvm
## install        install it (DESTDIR, PREFIX)
## sysroot        fetch what a cross build for ARCH needs
## clean          remove what was built
## distclean      and what was downloaded
## format         clang-format all sources
