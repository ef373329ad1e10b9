/* Who a request comes from, where proxies pass requests on. Pure but for a counter. */
#ifndef TIDEGATE_SERVER_CLIENT_ADDR_H
#define TIDEGATE_SERVER_CLIENT_ADDR_H

#include "core/settings.h"
#include "net/addr.h"
#include "proto/http_request.h"

enum { CLIENT_ADDR_HOPS = 16 }; /* proxies in a row; further elements are not looked at */

/* The address of the client: the connection's own, unless that is a trusted proxy's; then what the
 * header's last element says, and so on while that is a trusted proxy's. An element that can't be
 * read ends it there: the nearest address that is known for sure counts, and
 * tidegate_forwarded_ignored_total too. The port is 0 when it is not the connection's own. */
struct addr client_addr_of(const struct settings_forwarded *settings,
                           const struct http_request *request, const struct addr *peer);

#endif
