/* A verb that asks the API of a running gateway: where it is, the key, the call, and what to say
 * when it fails. Blocking; the main thread. */
#ifndef TIDEGATE_CLI_API_CLIENT_H
#define TIDEGATE_CLI_API_CLIENT_H

#include "base/buf.h"
#include "cli/args.h"
#include "cli/http_reply.h"
#include "cli/secret.h"
#include "cli/url.h"
#include "proto/json.h"

/* Beside the exit codes: the user ended the call (interrupt.h). */
enum { API_CLIENT_INTERRUPTED = -1 };

struct api_client {
    const char *verb;  /* for what is said */
    const char *scope; /* that its calls need, for what is said: "admin" */
    /* As the arguments say it; defaults may be set before. */
    const char *url_text, *app, *ca_file, *key_file, *timeout_text;
    bool json;

    struct url url;
    uint64_t timeout_ms;
    struct secret key;
    struct http_reply reply; /* of the last call */
    struct json_value body;  /* an object, in reply */
    bool quiet;              /* failures are told to words instead of stderr */
    struct buf words;
};

/* The options that all such verbs have, for a table of struct args_option. */
#define API_CLIENT_OPTIONS(client)                                                             \
    {"url", "URL", "the API listener (default http://127.0.0.1:8081)",                         \
     .text = &(client)->url_text},                                                             \
        {"app", "A", "the app, where the key is for all", .text = &(client)->app},             \
        {"ca", "FILE", "trust these authorities for https (PEM) instead of the system's",      \
         .text = &(client)->ca_file},                                                          \
        {"key-file", "FILE", "the API key's file (else TIDEGATE_API_KEY)",                     \
         .text = &(client)->key_file},                                                         \
    {                                                                                          \
        "timeout", "TIME", "give up after this (default 10s)", .text = &(client)->timeout_text \
    }

/* After the arguments: checks them and reads the key. False: said why; return EXIT_CODE_USAGE. */
bool api_client_open(struct api_client *client);
void api_client_close(struct api_client *client);

/* Asks, with ?app= where one was named. wait_ms: the answer may take so much longer. body "": none.
 * 0 when it is a success with a JSON object as its body, which is then in client->body until the
 * next call; else an enum exit_code, and said why. */
int api_client_call(struct api_client *client, const char *method, struct str path, struct str body,
                    uint64_t wait_ms);

/* For a call that must not end the program: whether such a failure may be over soon. */
bool api_client_may_retry(int exit_code);

/* --- reading answers --- */

/* The member as text, into scratch; "" when it is absent or no string. */
struct str api_text(struct json_value object, const char *name, char *scratch, size_t cap);
/* 0 when it is absent or no such number. A fraction is cut off. */
uint64_t api_number(struct json_value object, const char *name);
double api_real(struct json_value object, const char *name);
bool api_flag(struct json_value object, const char *name);
/* JSON_TYPE_NONE when it is absent. */
struct json_value api_member(struct json_value object, const char *name);

#endif
