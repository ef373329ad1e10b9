#include "cli/doctor_front.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/api_request.h"
#include "cli/http_call.h"
#include "cli/interrupt.h"
#include "proto/http_response.h"
#include "proto/ws_client.h"

enum {
    LONG_HEADER = 6000,
    EXPIRY_DAYS = 14,
    SKEW_S = 30,
    UPGRADE_REQUIRED = 426, /* what a gateway answers to a request without an upgrade */
};

#define UPGRADE_FIX                                                                            \
    "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header " \
    "Connection \"upgrade\";"

/* ---- small parts ---- */

static uint64_t deadline(const struct doctor_front *front)
{
    return clock_monotonic_ms() + front->timeout_ms;
}

void doctor_front_target(const struct doctor_front *front, const char *path, struct buf *out)
{
    struct str base = front->url.target;
    while (str_ends_with(base, STR("/"))) {
        base.len--;
    }
    buf_append_str(out, base);
    buf_append_str(out, str_of(path));
    if (front->app) {
        api_request_add_option(out, "app", str_of(front->app));
    }
}

/* Best effort: the head is what counts, the body says who it is. */
static void receive_body(struct conn *conn, struct http_reply *reply, uint64_t deadline_ms)
{
    while (!reply->is_complete) {
        uint8_t data[4096];
        ssize_t got = conn_read(conn, data, sizeof(data), deadline_ms);
        if (got <= 0 || http_reply_feed(reply, data, (size_t)got)) {
            return;
        }
    }
}

int doctor_front_get(const struct doctor_front *front, const char *path, const char *more,
                     struct http_reply *reply)
{
    struct buf request = {0};
    struct conn *conn;
    uint64_t until_ms = deadline(front);
    buf_append_str(&request, STR("GET "));
    doctor_front_target(front, path, &request);
    buf_printf(&request,
               " HTTP/1.1\r\nHost: %s\r\nUser-Agent: tidegate-doctor/" TIDEGATE_VERSION
               "\r\n%sConnection: close\r\n\r\n",
               front->url.authority, more);
    int err = buf_err(&request);
    if (!err) {
        err = conn_open(&conn, &front->url, front->ca_file, until_ms);
    }
    if (err) {
        buf_fini(&request);
        return err;
    }
    err = conn_write(conn, request.data, request.len, until_ms);
    int read_err = err == ERR_TIMEOUT ? err : http_call_read_head(conn, reply, until_ms);
    if (!read_err) {
        receive_body(conn, reply, until_ms);
    }
    conn_close(conn);
    buf_fini(&request);
    return read_err;
}

void doctor_front_code(const struct http_reply *reply, char *out, size_t cap)
{
    struct json_value body, code;
    struct str text = STR("");
    char scratch[64];
    struct str type = http_fields_find(&reply->answer.fields, STR("content-type"));
    if (str_starts_with(type, STR("application/problem+json")) &&
        json_parse(&body, buf_str(&reply->body), 8, NULL) == 0 &&
        json_get(body, STR("code"), &code)) {
        json_string_text(code, scratch, sizeof(scratch), &text);
    }
    snprintf(out, cap, "%.*s", STR_ARG(text));
}

void doctor_front_who(const struct http_reply *reply, char *out, size_t cap)
{
    char code[64];
    struct str server = http_fields_find(&reply->answer.fields, STR("server"));
    struct str via = http_fields_find(&reply->answer.fields, STR("via"));
    doctor_front_code(reply, code, sizeof(code));
    bool is_ours = *code || reply->answer.status == 101;
    snprintf(out, cap, "%s%s%.*s%s%.*s", is_ours ? "tidegate" : "something else than tidegate",
             server.len ? ", Server: " : "", STR_ARG(server), via.len ? ", Via: " : "",
             STR_ARG(via));
}

/* ---- DNS, TCP, TLS ---- */

static void say_tls(struct doctor_front *front, const struct conn_story *story)
{
    if (!front->url.is_secure) {
        doctor_say(front->report, "front.tls", DOCTOR_OK, NULL, "no TLS, as the URL says");
    } else if (story->certificate_days < EXPIRY_DAYS) {
        doctor_say(front->report, "front.tls", DOCTOR_WARN, "renew it",
                   "%s; the certificate ends in %lld days", story->tls_version,
                   (long long)story->certificate_days);
    } else {
        doctor_say(front->report, "front.tls", DOCTOR_OK, NULL,
                   "%s in %llu ms; the certificate is good for %lld days", story->tls_version,
                   (unsigned long long)story->secured_ms, (long long)story->certificate_days);
    }
}

static void say_open_failure(struct doctor_front *front, const struct conn_story *story, int err)
{
    static const char *const checks[] = {"front.dns", "front.tcp", "front.tls"};
    if (story->step == CONN_TLS && story->tls_problem) {
        doctor_say(front->report, "front.tls", DOCTOR_FAIL,
                   "a certificate for this name, with its whole chain; --ca FILE for an authority "
                   "of your own",
                   "the certificate is refused: %s", story->tls_problem);
        return;
    }
    doctor_say(front->report, checks[story->step], DOCTOR_FAIL, conn_advice(err), "%s: %s",
               front->url.authority, err_str(err));
}

/* False: nothing else can work. */
static bool check_connect(struct doctor_front *front)
{
    struct conn_story story = {0};
    struct conn *conn;
    int err = conn_open_telling(&conn, &front->url, front->ca_file, deadline(front), &story);
    if (story.step > CONN_LOOK_UP) {
        doctor_say(front->report, "front.dns", DOCTOR_OK, NULL, "%s: %u address%s", front->url.host,
                   story.addresses, story.addresses == 1 ? "" : "es");
    }
    if (story.step > CONN_CONNECT || !err) {
        doctor_say(front->report, "front.tcp", DOCTOR_OK, NULL, "%s in %llu ms", story.address,
                   (unsigned long long)story.connected_ms);
    }
    if (err) {
        say_open_failure(front, &story, err);
        return false;
    }
    say_tls(front, &story);
    conn_close(conn);
    return true;
}

/* ---- who answers ---- */

/* RFC 9110 5.6.7; the gateway sends none, a proxy does. */
static void check_clock(struct doctor_front *front, const struct http_reply *reply)
{
    struct str date = http_fields_find(&reply->answer.fields, STR("date"));
    char text[64];
    struct tm when = {0};
    snprintf(text, sizeof(text), "%.*s", STR_ARG(date));
    if (date.len == 0 || !strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &when)) {
        return;
    }
    long long skew_s = (long long)timegm(&when) - (long long)(clock_wall_ms() / 1000);
    if (skew_s > SKEW_S || skew_s < -SKEW_S) {
        doctor_say(front->report, "front.clock", DOCTOR_WARN,
                   "synchronize both clocks: tokens, tickets and grants end by them",
                   "the clock there is %lld s %s of ours", skew_s < 0 ? -skew_s : skew_s,
                   skew_s < 0 ? "behind" : "ahead");
    } else {
        doctor_say(front->report, "front.clock", DOCTOR_OK, NULL, "%lld s from ours", skew_s);
    }
}

static void check_http(struct doctor_front *front)
{
    struct http_reply reply = {0};
    char who[256];
    int err = doctor_front_get(front, "/v1/ws", "", &reply);
    if (err) {
        doctor_say(front->report, "front.http", DOCTOR_FAIL,
                   "is it HTTP/1.1 that is spoken on this port?", "no HTTP answer: %s",
                   err_str(err));
        http_reply_fini(&reply);
        return;
    }
    doctor_front_who(&reply, who, sizeof(who));
    int status = front->plain_status = reply.answer.status;
    struct str location = http_fields_find(&reply.answer.fields, STR("location"));
    if (status == UPGRADE_REQUIRED) {
        doctor_say(front->report, "front.http", DOCTOR_OK, NULL,
                   "a request without an upgrade is answered %d by %s", status, who);
    } else if (status / 100 == 3 && !front->url.is_secure &&
               str_starts_with(location, STR("https://"))) {
        doctor_say(front->report, "front.http", DOCTOR_FAIL, "use https:// in the URL",
                   "%d by %s: clients are sent on to https", status, who);
    } else if (status == 502 || status == 503 || status == 504) {
        doctor_say(front->report, "front.http", DOCTOR_FAIL,
                   "does the proxy reach the gateway's client listener (listen.client), and is "
                   "/readyz 200?",
                   "%d by %s: the proxy has no gateway to pass requests on to", status, who);
    } else {
        doctor_say(front->report, "front.http", DOCTOR_FAIL,
                   "let the proxy pass the path /v1/ on to the gateway's client listener, or give "
                   "the URL with the path in front of it",
                   "%d by %s: the path does not lead to a gateway", status, who);
    }
    check_clock(front, &reply);
    http_reply_fini(&reply);
}

/* ---- the upgrade ---- */

struct upgrade {
    char key[WS_KEY_LEN + 1];
    struct ws_client_request request;
    struct http_pair headers[2];
    struct buf target;
    char bearer[SECRET_MAX + 16];
};

static bool prepare_upgrade(struct doctor_front *front, struct upgrade *upgrade,
                            struct str extensions)
{
    uint8_t random[16];
    *upgrade = (struct upgrade){
        .headers = {{STR("User-Agent"), STR("tidegate-doctor/" TIDEGATE_VERSION)}}};
    doctor_front_target(front, "/v1/ws", &upgrade->target);
    if (getrandom(random, sizeof(random), 0) != sizeof(random) || buf_err(&upgrade->target)) {
        return false;
    }
    ws_client_make_key(random, upgrade->key);
    snprintf(upgrade->bearer, sizeof(upgrade->bearer), "Bearer %s", front->token.text);
    upgrade->headers[1] = (struct http_pair){STR("Authorization"), str_of(upgrade->bearer)};
    upgrade->request = (struct ws_client_request){.host = str_of(front->url.authority),
                                                  .target = buf_str(&upgrade->target),
                                                  .key = str_of(upgrade->key),
                                                  .protocols = STR("tidegate.v1.json"),
                                                  .extensions = extensions,
                                                  .headers = upgrade->headers,
                                                  .header_count = *front->token.text ? 2 : 1};
    return true;
}

static void end_upgrade(struct upgrade *upgrade)
{
    buf_fini(&upgrade->target);
    explicit_bzero(upgrade->bearer, sizeof(upgrade->bearer));
}

/* Connects, asks and takes the head. On success the connection is *out_conn. */
static int ask_upgrade(struct doctor_front *front, struct upgrade *upgrade,
                       struct http_reply *reply, struct conn **out_conn)
{
    struct buf out = {0};
    uint64_t until_ms = deadline(front);
    int err = conn_open(out_conn, &front->url, front->ca_file, until_ms);
    if (err) {
        return err;
    }
    front->opened_ms = clock_monotonic_ms();
    err = ws_client_write_request(&out, &upgrade->request);
    if (!err) {
        err = conn_write(*out_conn, out.data, out.len, until_ms);
    }
    err = err ? err : http_call_read_head(*out_conn, reply, until_ms);
    if (!err && reply->answer.status != 101) {
        receive_body(*out_conn, reply, until_ms);
    }
    if (out.data) {
        explicit_bzero(out.data, out.cap);
    }
    buf_fini(&out);
    if (err) {
        conn_close(*out_conn);
        *out_conn = NULL;
    }
    return err;
}

static void say_refused_upgrade(struct doctor_front *front, const struct http_reply *reply)
{
    char who[256];
    char code[64];
    int status = reply->answer.status;
    doctor_front_who(reply, who, sizeof(who));
    doctor_front_code(reply, code, sizeof(code));
    if (status == UPGRADE_REQUIRED) {
        doctor_say(front->report, "front.upgrade", DOCTOR_FAIL, UPGRADE_FIX,
                   "the gateway answers 426: the proxy takes the headers Upgrade and Connection "
                   "away");
    } else if (*code && (status == 401 || status == 403)) {
        doctor_say(front->report, "front.upgrade", DOCTOR_WARN,
                   "give a good token: --token-file FILE or TIDEGATE_TOKEN",
                   "the gateway is there and answers %d %s", status, code);
    } else if (*code) {
        doctor_say(front->report, "front.upgrade", DOCTOR_FAIL, "the gateway's log says more",
                   "the gateway answers %d %s", status, code);
    } else {
        doctor_say(front->report, "front.upgrade", DOCTOR_FAIL, UPGRADE_FIX,
                   "an upgrade is answered %d by %s", status, who);
    }
}

/* What an upgrade that went through lost on its way. */
static bool check_upgraded(struct doctor_front *front, const struct upgrade *upgrade,
                           const struct http_reply *reply)
{
    int err = ws_client_check_answer(&reply->answer, &upgrade->request);
    if (err) {
        doctor_say(front->report, "front.upgrade", DOCTOR_FAIL, UPGRADE_FIX,
                   "101, but not the answer to our key: something in between speaks WebSocket for "
                   "itself, or breaks headers");
        return false;
    }
    doctor_say(front->report, "front.upgrade", DOCTOR_OK, NULL, "101 Switching Protocols");
    struct str protocol = http_fields_find(&reply->answer.fields, STR("sec-websocket-protocol"));
    if (!str_equal(protocol, STR("tidegate.v1.json"))) {
        doctor_say(front->report, "front.subprotocol", DOCTOR_FAIL,
                   "let the proxy pass Sec-WebSocket-Protocol in both directions",
                   "tidegate.v1.json was asked for, and the answer does not have it: sessions are "
                   "raw, without resume");
        return false;
    }
    doctor_say(front->report, "front.subprotocol", DOCTOR_OK, NULL, "tidegate.v1.json");
    return true;
}

/* True: front->link is open, and speaks our protocol. */
static bool check_upgrade(struct doctor_front *front)
{
    struct upgrade upgrade;
    struct http_reply reply = {0};
    struct conn *conn = NULL;
    int err = prepare_upgrade(front, &upgrade, STR(""))
                  ? ask_upgrade(front, &upgrade, &reply, &conn)
                  : ERR_NO_MEMORY;
    bool good = false;
    if (err) {
        doctor_say(front->report, "front.upgrade", DOCTOR_FAIL,
                   "does the proxy let WebSockets pass, and does its log say why not?",
                   "no answer to the upgrade: %s", err_str(err));
    } else if (reply.answer.status != 101) {
        say_refused_upgrade(front, &reply);
    } else {
        good = check_upgraded(front, &upgrade, &reply);
    }
    if (good && ws_link_adopt(&front->link, conn, buf_str(&reply.body)) == 0) {
        conn = NULL;
    }
    conn_close(conn);
    end_upgrade(&upgrade);
    http_reply_fini(&reply);
    return front->link != NULL;
}

/* On a connection of its own: what is compressed could not be read here. */
static void check_compression(struct doctor_front *front)
{
    struct upgrade upgrade;
    struct http_reply reply = {0};
    struct conn *conn = NULL;
    int err = prepare_upgrade(front, &upgrade, STR("permessage-deflate"))
                  ? ask_upgrade(front, &upgrade, &reply, &conn)
                  : ERR_NO_MEMORY;
    struct str extensions = err ? STR("")
                                : http_fields_find(&reply.answer.fields,
                                                   STR("sec-websocket-extensions"));
    if (err || reply.answer.status != 101) {
        doctor_say(front->report, "front.compression", DOCTOR_SKIP, NULL, "no upgrade");
    } else if (extensions.len > 0) {
        doctor_say(front->report, "front.compression", DOCTOR_OK, NULL, "%.*s",
                   STR_ARG(extensions));
    } else {
        doctor_say(front->report, "front.compression", DOCTOR_OK, NULL,
                   "messages are not compressed: it is off in the gateway, or the proxy takes "
                   "Sec-WebSocket-Extensions away");
    }
    conn_close(conn);
    end_upgrade(&upgrade);
    http_reply_fini(&reply);
}

/* ---- long headers: tokens and cookies make them ---- */

/* Whether a header of so many bytes reaches the gateway; if not, who answers, or why nobody. */
static bool header_passes(const struct doctor_front *front, int bytes, char *out_why, size_t cap)
{
    char more[LONG_HEADER + 64];
    char who[256];
    struct http_reply reply = {0};
    int len = snprintf(more, sizeof(more), "X-Tidegate-Doctor: ");
    memset(more + len, 'x', (size_t)bytes);
    snprintf(more + len + bytes, sizeof(more) - (size_t)(len + bytes), "\r\n");
    int err = doctor_front_get(front, "/v1/ws", more, &reply);
    if (err) {
        snprintf(out_why, cap, "not answered: %s", err_str(err));
    } else {
        doctor_front_who(&reply, who, sizeof(who));
        snprintf(out_why, cap, "answered %d by %s", reply.answer.status, who);
    }
    bool passes = !err && reply.answer.status == UPGRADE_REQUIRED;
    http_reply_fini(&reply);
    return passes;
}

static void check_headers(struct doctor_front *front)
{
    char why[320];
    char ignored[320];
    int bytes = LONG_HEADER;
    if (front->plain_status != UPGRADE_REQUIRED) {
        doctor_say(front->report, "front.headers", DOCTOR_SKIP, NULL, "no gateway answers");
        return;
    }
    if (header_passes(front, bytes, why, sizeof(why))) {
        doctor_say(front->report, "front.headers", DOCTOR_OK, NULL,
                   "a header of %d bytes comes through", bytes);
        return;
    }
    do {
        bytes -= 1000;
    } while (bytes > 0 && !interrupt_raised() &&
             !header_passes(front, bytes, ignored, sizeof(ignored)));
    doctor_say(front->report, "front.headers", DOCTOR_WARN,
               "nginx: large_client_header_buffers; HAProxy: tune.bufsize",
               "a header of %d bytes is %s; one of %d comes through: long tokens and cookies will "
               "not pass",
               LONG_HEADER, why, bytes);
}

/* ---- hello ---- */

static int on_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct doctor_front *front = owner;
    struct json_value frame, kind;
    if (front->welcome.len == 0 && json_parse(&frame, payload, JSON_MAX_DEPTH, NULL) == 0 &&
        json_get(frame, STR("t"), &kind) && json_equals(kind, STR("welcome"))) {
        buf_append_str(&front->welcome, payload);
    }
    return 0;
}

static void take_welcome(struct doctor_front *front)
{
    struct json_value frame, value;
    front->ping_ms = 25000;
    if (json_parse(&frame, buf_str(&front->welcome), JSON_MAX_DEPTH, NULL) == 0 &&
        json_get(frame, STR("ping_ms"), &value)) {
        json_u64(value, 86400000, &front->ping_ms);
    }
    doctor_say(front->report, "front.hello", DOCTOR_OK, NULL,
               "welcome %llu ms after the connect; pings each %llu ms",
               (unsigned long long)(clock_monotonic_ms() - front->opened_ms),
               (unsigned long long)front->ping_ms);
}

static void say_no_welcome(struct doctor_front *front, int err, uint16_t code)
{
    if (err == ERR_CLOSED && code >= 4000 && code < 5000) {
        doctor_say(front->report, "front.hello", *front->token.text ? DOCTOR_FAIL : DOCTOR_WARN,
                   "give a good token: --token-file FILE or TIDEGATE_TOKEN",
                   "the gateway is there and closes with %u%s", code,
                   *front->token.text ? "" : ", as there is no token");
    } else {
        doctor_say(front->report, "front.hello", DOCTOR_FAIL,
                   "are frames passed on in both directions?", "no welcome: %s%s",
                   err == ERR_CLOSED && code == 1006 ? "the connection was cut" : err_str(err),
                   err == ERR_TIMEOUT ? ", though the upgrade was answered" : "");
    }
}

/* True: there is a session. */
static bool check_hello(struct doctor_front *front)
{
    static const struct ws_link_events events = {.on_message = on_message};
    uint64_t until_ms = deadline(front);
    uint16_t code = 0;
    int err = ws_link_send(front->link, WS_TEXT, STR("{\"t\":\"hello\",\"v\":1}"), until_ms);
    while (!err && front->welcome.len == 0) {
        err = ws_link_read(front->link, &events, front, until_ms, &code);
    }
    if (front->welcome.len > 0) {
        take_welcome(front);
        return true;
    }
    say_no_welcome(front, err, code);
    return false;
}

/* ---- all of them ---- */

static void check_session(struct doctor_front *front)
{
    if (!check_hello(front)) {
        doctor_say(front->report, "front.idle", DOCTOR_SKIP, NULL,
                   "without a session the gateway itself ends the connection soon: give a token");
        return;
    }
    doctor_check_frame(front);
    if (front->idle_ms) {
        doctor_check_idle(front);
    }
}

bool doctor_check_front(struct doctor_front *front)
{
    if (!check_connect(front)) {
        return !interrupt_raised();
    }
    static void (*const steps[])(struct doctor_front *) = {check_http, check_headers,
                                                           check_compression, doctor_check_sse};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !interrupt_raised(); i++) {
        steps[i](front);
    }
    if (!interrupt_raised() && check_upgrade(front)) {
        check_session(front);
    }
    ws_link_close(front->link, front->welcome.len ? WS_CLOSE_NORMAL : 0);
    buf_fini(&front->welcome);
    return !interrupt_raised();
}
