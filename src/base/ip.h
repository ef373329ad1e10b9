/* IP addresses as text, without ports or names. IPv4 is held as ::ffff:a.b.c.d, so that comparisons
 * need one case. Pure. */
#ifndef TIDEGATE_BASE_IP_H
#define TIDEGATE_BASE_IP_H

#include <stdbool.h>

#include "base/str.h"

enum { IP_BYTES = 16 };

/* "10.0.0.1" or "fd00::1": exactly one of the two, in any form that inet_pton takes. 0 or
 * ERR_SYNTAX. */
int ip_parse_v4(uint8_t out_ip[IP_BYTES], struct str text);
int ip_parse_v6(uint8_t out_ip[IP_BYTES], struct str text);

/* Either. */
int ip_parse(uint8_t out_ip[IP_BYTES], struct str text);

void ip_set_v4(uint8_t out_ip[IP_BYTES], const void *four_bytes);
bool ip_is_v4(const uint8_t ip[IP_BYTES]);

#endif
