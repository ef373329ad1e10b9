/* The console's server side, on the main thread: its files, signing in and out, and the API's
 * endpoints for who is signed in.
 *
 *     /console/              the page and its parts (web/console/)
 *     /console/session       POST {"key": …} signs in, GET says who is, DELETE signs out
 *     /console/api/v1/…      the endpoints of the API, run on a worker (api/bridge.h); ?app= names
 *                            the app, else it is the key's own
 *
 * A key of scope monitor gives the role "read", one of scope admin "operate": every endpoint, in
 * every app. While no app has a key, the console is open on loopback, as the API is.
 *
 * Against forgery: the cookie is SameSite=Strict and HttpOnly, what changes anything needs an
 * Origin of our own and a header that no form can send (X-Tidegate-Console), and the page's policy
 * lets no foreign script run (api/page.h). Keys are compared in constant time, and tries are
 * limited an address. docs/decisions/0037-the-consoles-sign-in.md */
#ifndef TIDEGATE_API_CONSOLE_H
#define TIDEGATE_API_CONSOLE_H

#include "server/gateway.h"

struct console; /* console.c */

/* gateway is borrowed. */
int console_create(struct console **out_console, struct gateway *gateway);
void console_destroy(struct console *console); /* NULL is fine */

/* Inside on_request, for what has passed the listener's own guards. False: the path is not the
 * console's, or there is no console. */
bool console_on_request(struct console *console, const struct settings *settings,
                        struct http_exchange *exchange, uint64_t now_ms);

/* The browser reached us, or a proxy before us, by https. */
bool console_is_https(const struct http_exchange *exchange);

#endif
