/* Reads headers by which proxies say whose request they pass on: Forwarded (RFC 7239) and
 * X-Forwarded-For. Each proxy appends an element, so they are read from the right: what is left of
 * the elements of one's own proxies is whatever a client chose to write. Pure. */
#ifndef TIDEGATE_PROTO_FORWARDED_H
#define TIDEGATE_PROTO_FORWARDED_H

#include <stdbool.h>

#include "base/ip.h"

/* Cuts the last element from the header's value; false when none is left. Every comma counts, also
 * one in quotes: else a quote that a client opened would swallow what our proxy appended. The
 * pieces of a string that was cut can't be read, since each has half of its quotes. Start with a
 * copy of the value. */
bool forwarded_cut_last(struct str *value, struct str *out_element);

/* The address that an element names; a port is allowed and not looked at. 0; ERR_NOT_FOUND: it
 * names none (no `for`, `unknown`, a name that hides one); ERR_SYNTAX, also for a quote in the
 * midst of any value and for an escape. */
int forwarded_read(struct str element, uint8_t out_ip[IP_BYTES]);       /* of Forwarded */
int forwarded_read_plain(struct str element, uint8_t out_ip[IP_BYTES]); /* of X-Forwarded-For */

#endif
