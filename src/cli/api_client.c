#include "cli/api_client.h"

#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/api_request.h"
#include "cli/exit_code.h"
#include "cli/http_call.h"
#include "cli/output.h"
#include "cli/refusal.h"

static bool check_url(struct api_client *client)
{
    const char *reason;
    if (!client->url_text) {
        client->url_text = "http://127.0.0.1:8081";
    }
    if (url_parse(&client->url, client->url_text, &reason)) {
        args_complain(client->verb, "--url can't be used: %s; the default is http://127.0.0.1:8081",
                      reason);
        return false;
    }
    struct str target = client->url.target;
    if (client->url.is_websocket || (target.len > 0 && memchr(target.ptr, '?', target.len))) {
        args_complain(client->verb,
                      "--url is the API's base, http:// or https:// without a query, like "
                      "http://127.0.0.1:8081");
        return false;
    }
    return true;
}

/* A gateway without configured keys is asked without one, so none is no mistake here. */
static bool read_key(struct api_client *client)
{
    int err = secret_read(&client->key, client->key_file, "TIDEGATE_API_KEY");
    if (err && err != ERR_NOT_FOUND) {
        args_complain(client->verb,
                      "the API key in %s can't be used: %s; it is one line of visible characters",
                      client->key_file ? client->key_file : "TIDEGATE_API_KEY",
                      err == ERR_SYNTAX ? "empty, or other characters in it" : err_str(err));
        return false;
    }
    return true;
}

bool api_client_open(struct api_client *client)
{
    client->timeout_ms = 10000;
    signal(SIGPIPE, SIG_IGN);
    if (client->timeout_text && !args_duration_ms(client->timeout_text, &client->timeout_ms)) {
        args_complain(client->verb, "--timeout is a time with its unit, like 500ms, 10s, 1m");
        return false;
    }
    return check_url(client) && read_key(client);
}

void api_client_close(struct api_client *client)
{
    secret_wipe(&client->key);
    http_reply_fini(&client->reply);
    buf_fini(&client->words);
}

/* ---- what went wrong ---- */

static void say(struct api_client *client, struct buf *words)
{
    if (client->quiet) {
        buf_clear(&client->words);
        buf_append_str(&client->words, buf_str(words));
    } else {
        args_complain(client->verb, "%s", buf_cstr(words));
    }
    buf_fini(words);
}

static int explain_connect(struct api_client *client, int err)
{
    struct buf words = {0};
    buf_printf(&words, "can't connect to %s: %s; %s", client->url.authority, err_str(err),
               conn_advice(err));
    say(client, &words);
    return err == ERR_TIMEOUT  ? EXIT_CODE_TIMEOUT
           : err == ERR_SYNTAX ? EXIT_CODE_USAGE
                               : EXIT_CODE_CONNECT;
}

static int explain_no_answer(struct api_client *client, int err)
{
    struct buf words = {0};
    int code = EXIT_CODE_CONNECT;
    switch (err) {
    case ERR_TIMEOUT:
        buf_append_str(&words, STR("no answer in time; raise --timeout"));
        code = EXIT_CODE_TIMEOUT;
        break;
    case ERR_PROTOCOL:
    case ERR_TOO_LARGE:
    case ERR_UNSUPPORTED:
        buf_append_str(&words, STR("the answer is not HTTP of tidegate's kind; --url must be the "
                                   "API listener, by default http://127.0.0.1:8081"));
        code = EXIT_CODE_PROTOCOL;
        break;
    case ERR_NO_MEMORY:
        buf_append_str(&words, STR("memory is out; try again"));
        code = EXIT_CODE_INTERNAL;
        break;
    default:
        buf_printf(&words, "the connection was lost before the answer (%s)", err_str(err));
        break;
    }
    say(client, &words);
    return code;
}

static int judge(struct api_client *client)
{
    const struct http_reply *reply = &client->reply;
    int status = reply->answer.status;
    struct buf words = {0};
    if (json_parse(&client->body, buf_str(&reply->body), JSON_MAX_DEPTH, NULL) ||
        client->body.type != JSON_TYPE_OBJECT) {
        client->body = (struct json_value){0};
    }
    if (status >= 200 && status < 300 && client->body.type == JSON_TYPE_OBJECT) {
        return EXIT_CODE_OK;
    }
    const struct refusal refusal = {
        .status = status,
        .body = client->body,
        .retry_after = http_fields_find(&reply->answer.fields, STR("retry-after")),
        .scope = client->scope};
    int code = status >= 400 ? refusal_explain(&refusal, &words) : refusal_not_ours(status, &words);
    if (client->json && !client->quiet && status >= 400 && client->body.type == JSON_TYPE_OBJECT) {
        struct buf out = {0};
        output_append_line(&out, client->body.raw);
        output_flush(&out);
        buf_fini(&out);
    }
    say(client, &words);
    return code;
}

/* ---- the call ---- */

static int write_request(struct api_client *client, struct buf *request, const char *method,
                         struct str path, struct str body)
{
    struct buf whole = {0};
    buf_append_str(&whole, path);
    if (client->app) {
        api_request_add_option(&whole, "app", str_of(client->app));
    }
    int err = buf_err(&whole);
    if (!err) {
        err = api_request_write(request, &client->url, client->key.text, method, buf_str(&whole),
                                body);
    }
    buf_fini(&whole);
    return err;
}

int api_client_call(struct api_client *client, const char *method, struct str path, struct str body,
                    uint64_t wait_ms)
{
    struct buf request = {0};
    bool connected = false;
    uint64_t deadline_ms = clock_monotonic_ms() + client->timeout_ms + wait_ms;
    http_reply_fini(&client->reply);
    client->body = (struct json_value){0};
    int err = write_request(client, &request, method, path, body);
    if (err) {
        buf_fini(&request);
        return explain_no_answer(client, err);
    }
    err = http_call(&client->reply, &client->url, client->ca_file, &request, deadline_ms,
                    &connected);
    if (err == ERR_CANCELED) {
        return API_CLIENT_INTERRUPTED;
    }
    if (err) {
        return connected ? explain_no_answer(client, err) : explain_connect(client, err);
    }
    return judge(client);
}

bool api_client_may_retry(int exit_code)
{
    return exit_code == EXIT_CODE_CONNECT || exit_code == EXIT_CODE_TIMEOUT ||
           exit_code == EXIT_CODE_UNAVAILABLE;
}

/* ---- reading answers ---- */

struct json_value api_member(struct json_value object, const char *name)
{
    struct json_value value = {0};
    json_get(object, str_of(name), &value);
    return value;
}

struct str api_text(struct json_value object, const char *name, char *scratch, size_t cap)
{
    struct str text = STR("");
    json_string_text(api_member(object, name), scratch, cap, &text);
    return text;
}

double api_real(struct json_value object, const char *name)
{
    struct json_value value = api_member(object, name);
    char text[64];
    if (value.type != JSON_TYPE_NUMBER || value.raw.len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, value.raw.ptr, value.raw.len);
    text[value.raw.len] = '\0';
    return strtod(text, NULL);
}

uint64_t api_number(struct json_value object, const char *name)
{
    uint64_t number = 0;
    if (json_u64(api_member(object, name), UINT64_MAX, &number)) {
        return number;
    }
    double real = api_real(object, name);
    return real > 0 && real < 9e18 ? (uint64_t)real : 0;
}

bool api_flag(struct json_value object, const char *name)
{
    return api_member(object, name).type == JSON_TYPE_TRUE;
}
