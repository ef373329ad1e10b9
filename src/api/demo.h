/* The demo page: GET /demo/ and its files from the binary, POST /demo/token {"user": …} → {"token",
 * "app"}, and POST /demo/push, which pushes like POST /v1/messages but without an API key. Only
 * with debug.demo and a client listener on loopback; foreign pages and rebound names are kept out
 * (api/loopback.h). Runs on workers. */
#ifndef TIDEGATE_API_DEMO_H
#define TIDEGATE_API_DEMO_H

#include <stdbool.h>

struct http_exchange;
struct worker;

/* False, and nothing is answered, when the path is not the demo's or the demo is off. */
bool demo_on_request(struct worker *worker, struct http_exchange *exchange);

#endif
