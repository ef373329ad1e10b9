#include "cli/cli.h"

#include <signal.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/exit_code.h"
#include "cli/http_call.h"
#include "cli/output.h"
#include "cli/push_answer.h"
#include "cli/push_options.h"
#include "cli/push_request.h"
#include "cli/secret.h"

static int explain_connect(const struct push_options *options, int err)
{
    args_complain("push", "can't connect to %s: %s; %s", options->url.authority, err_str(err),
                  conn_advice(err));
    return err == ERR_TIMEOUT  ? EXIT_CODE_TIMEOUT
           : err == ERR_SYNTAX ? EXIT_CODE_USAGE
                               : EXIT_CODE_CONNECT;
}

/* After the request went out nobody knows what became of it, unless an answer says so. */
static int explain_no_answer(int err)
{
    switch (err) {
    case ERR_TIMEOUT:
        args_complain("push",
                      "no answer in time, so the push may or may not be accepted; repeat it "
                      "with the same --id, or raise --timeout");
        return EXIT_CODE_TIMEOUT;
    case ERR_PROTOCOL:
    case ERR_TOO_LARGE:
    case ERR_UNSUPPORTED:
        args_complain("push", "the answer is not HTTP of tidegate's kind; --url must be the API "
                              "listener, by default http://127.0.0.1:8081");
        return EXIT_CODE_PROTOCOL;
    case ERR_NO_MEMORY:
        args_complain("push", "memory is out; try again");
        return EXIT_CODE_INTERNAL;
    default:
        args_complain("push",
                      "the connection was lost before the answer (%s), so the push may or "
                      "may not be accepted; repeat it with the same --id",
                      err_str(err));
        return EXIT_CODE_CONNECT;
    }
}

static int report(const struct push_options *options, const struct http_reply *reply)
{
    const struct push_answer answer = {
        .status = reply->answer.status,
        .body = buf_str(&reply->body),
        .retry_after = http_fields_find(&reply->answer.fields, STR("retry-after")),
        .as_json = options->json,
    };
    struct buf out = {0};
    struct buf words = {0};
    int code = push_answer_judge(&answer, &out, &words);
    if (words.len > 0) {
        args_complain("push", "%s", buf_cstr(&words));
    }
    int err = output_flush(&out);
    if (err) {
        args_complain("push", "can't write to standard output: %s; the push itself was answered %d",
                      err_str(err), answer.status);
        code = EXIT_CODE_INTERNAL;
    }
    buf_fini(&out);
    buf_fini(&words);
    return code;
}

static int push(const struct push_options *options, const char *key)
{
    uint64_t deadline_ms = clock_monotonic_ms() + options->timeout_ms;
    struct buf request = {0};
    struct http_reply reply = {0};
    bool connected = true;
    int err = push_request_write(&request, options, key);
    if (err) {
        buf_fini(&request);
        return explain_no_answer(err);
    }
    err = http_call(&reply, &options->url, options->ca_file, &request, deadline_ms, &connected);
    int code = !connected ? explain_connect(options, err)
               : err      ? explain_no_answer(err)
                          : report(options, &reply);
    http_reply_fini(&reply);
    return code;
}

/* A gateway without configured keys takes pushes without one, so none is no mistake here. */
static bool read_key(struct secret *key, const struct push_options *options)
{
    int err = secret_read(key, options->key_file, "TIDEGATE_API_KEY");
    if (err && err != ERR_NOT_FOUND) {
        args_complain("push",
                      "the API key in %s can't be used: %s; it is one line of visible "
                      "characters",
                      options->key_file ? options->key_file : "TIDEGATE_API_KEY",
                      err == ERR_SYNTAX ? "empty, or other characters in it" : err_str(err));
        return false;
    }
    return true;
}

int cli_push(int argc, char **argv)
{
    struct push_options options;
    struct secret key;
    int code = EXIT_CODE_USAGE;
    signal(SIGPIPE, SIG_IGN);
    if (push_options_read(&options, argc, argv, &code)) {
        code = EXIT_CODE_USAGE;
        if (read_key(&key, &options)) {
            code = push(&options, key.text);
        }
        secret_wipe(&key);
    }
    push_options_fini(&options);
    return code;
}
