#include "net/fetch.h"

#include <curl/curl.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mail.h"
#include "base/mem.h"

struct fetcher {
    struct loop *loop; /* borrowed */
    CURLM *multi;
    struct timer timer;
    fetch_may_connect_cb may_connect;
    void *owner;
    struct fetch *fetches;
};

struct fetch {
    struct fetcher *fetcher;
    struct fetch *next;
    struct fetch **link; /* what points at us */
    CURL *easy;
    struct curl_slist *headers;
    size_t header_bytes; /* received */
    struct buf body;
    int refused; /* our own reason to stop, told to curl as a failed callback */
    fetch_done_cb on_done;
    void *owner;
    char detail[CURL_ERROR_SIZE];
};

struct socket_watch {
    struct loop_watch watch;
    struct fetcher *fetcher;
};

static int err_of_curl(CURLcode code)
{
    switch (code) {
    case CURLE_OK: return 0;
    case CURLE_OPERATION_TIMEDOUT: return ERR_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED: return ERR_TOO_LARGE;
    case CURLE_OUT_OF_MEMORY: return ERR_NO_MEMORY;
    case CURLE_URL_MALFORMAT: return ERR_SYNTAX;
    case CURLE_PEER_FAILED_VERIFICATION: return ERR_DENIED;
    default: return ERR_UNAVAILABLE;
    }
}

static void fetch_free(struct fetch *fetch)
{
    curl_easy_cleanup(fetch->easy);
    curl_slist_free_all(fetch->headers);
    buf_fini(&fetch->body);
    mem_free(fetch);
}

static void fetch_unlink(struct fetch *fetch)
{
    *fetch->link = fetch->next;
    if (fetch->next) {
        fetch->next->link = fetch->link;
    }
    curl_multi_remove_handle(fetch->fetcher->multi, fetch->easy);
}

static void fetch_finish(struct fetch *fetch, int err)
{
    struct fetch_response response = {.detail = err ? fetch->detail : ""};
    char *content_type = NULL;
    curl_off_t retry_after_s = 0;
    long status = 0;
    curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(fetch->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    curl_easy_getinfo(fetch->easy, CURLINFO_CONTENT_TYPE, &content_type);
    response.status = (int)status;
    response.content_type = str_of(content_type);
    response.body = buf_str(&fetch->body);
    response.retry_after_ms = retry_after_s > 0 ? (uint64_t)retry_after_s * 1000 : 0;
    response.address_refused = fetch->refused == ERR_DENIED;
    fetch_unlink(fetch);
    fetch->on_done(fetch->owner, err, &response);
    fetch_free(fetch);
}

static void finish_done(struct fetcher *fetcher)
{
    int left;
    for (;;) {
        CURLMsg *message = curl_multi_info_read(fetcher->multi, &left);
        if (!message) {
            return;
        }
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        struct fetch *fetch = NULL;
        int err = err_of_curl(message->data.result);
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
        fetch_finish(fetch, err && fetch->refused ? fetch->refused : err);
    }
}

static void act(struct fetcher *fetcher, curl_socket_t fd, int what)
{
    int running;
    curl_multi_socket_action(fetcher->multi, fd, what, &running);
    finish_done(fetcher);
}

static void on_socket_ready(struct loop_watch *watch, unsigned events)
{
    struct socket_watch *socket_watch = MAIL_OWNER(watch, struct socket_watch, watch);
    int what = (events & LOOP_READABLE ? CURL_CSELECT_IN : 0) |
               (events & LOOP_WRITABLE ? CURL_CSELECT_OUT : 0) |
               (events & LOOP_HANGUP ? CURL_CSELECT_ERR : 0);
    act(socket_watch->fetcher, watch->fd, what);
}

static void on_timer(struct timer *timer)
{
    act(MAIL_OWNER(timer, struct fetcher, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct fetcher *fetcher = arg;
    if (timeout_ms < 0) {
        loop_timer_stop(fetcher->loop, &fetcher->timer);
    } else {
        loop_timer_start(fetcher->loop, &fetcher->timer, (uint64_t)timeout_ms);
    }
    return 0;
}

static void unwatch_socket(struct fetcher *fetcher, curl_socket_t fd, struct socket_watch *watch)
{
    if (watch) {
        loop_unwatch(fetcher->loop, &watch->watch);
        curl_multi_assign(fetcher->multi, fd, NULL);
        mem_free(watch);
    }
}

/* Without memory the socket stays unwatched and its request ends by its time-out: an error from
 * here would end curl's whole multi handle. */
static void watch_socket(struct fetcher *fetcher, curl_socket_t fd, unsigned events)
{
    struct socket_watch *watch = mem_zalloc(sizeof(*watch));
    if (!watch) {
        return;
    }
    watch->watch.on_ready = on_socket_ready;
    watch->fetcher = fetcher;
    if (loop_watch(fetcher->loop, &watch->watch, fd, events)) {
        mem_free(watch);
        return;
    }
    curl_multi_assign(fetcher->multi, fd, watch);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct fetcher *fetcher = arg;
    struct socket_watch *watch = socket_arg;
    unsigned events = (what & CURL_POLL_IN ? LOOP_READABLE : 0u) |
                      (what & CURL_POLL_OUT ? LOOP_WRITABLE : 0u);
    if (what == CURL_POLL_REMOVE) {
        unwatch_socket(fetcher, fd, watch);
    } else if (watch) {
        loop_rewatch(fetcher->loop, &watch->watch, events);
    } else {
        watch_socket(fetcher, fd, events);
    }
    return 0;
}

static curl_socket_t on_curl_open(void *arg, curlsocktype purpose, struct curl_sockaddr *where)
{
    struct fetch *fetch = arg;
    struct fetcher *fetcher = fetch->fetcher;
    struct addr addr;
    if (fetcher->may_connect &&
        (addr_from_sockaddr(&addr, &where->addr) || !fetcher->may_connect(fetcher->owner, &addr))) {
        fetch->refused = ERR_DENIED;
        return CURL_SOCKET_BAD;
    }
    return socket(where->family, where->socktype | SOCK_CLOEXEC, where->protocol);
}

static size_t on_curl_body(char *data, size_t size, size_t count, void *arg)
{
    struct fetch *fetch = arg;
    if (buf_append(&fetch->body, data, size * count)) {
        fetch->refused = buf_err(&fetch->body);
        return 0;
    }
    return size * count;
}

static size_t on_curl_header(char *data, size_t size, size_t count, void *arg)
{
    struct fetch *fetch = arg;
    fetch->header_bytes += size * count;
    if (fetch->header_bytes > FETCH_HEADERS_MAX) {
        fetch->refused = ERR_TOO_LARGE;
        return 0;
    }
    return size * count;
}

int fetcher_create(struct fetcher **out_fetcher, struct loop *loop,
                   fetch_may_connect_cb may_connect, void *owner)
{
    struct fetcher *fetcher = mem_zalloc(sizeof(*fetcher));
    if (!fetcher) {
        return ERR_NO_MEMORY;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) {
        mem_free(fetcher);
        return ERR_NO_MEMORY;
    }
    fetcher->loop = loop;
    fetcher->timer.on_fire = on_timer;
    fetcher->may_connect = may_connect;
    fetcher->owner = owner;
    fetcher->multi = curl_multi_init();
    if (!fetcher->multi) {
        fetcher_destroy(fetcher);
        return ERR_NO_MEMORY;
    }
    curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETDATA, fetcher);
    curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERDATA, fetcher);
    *out_fetcher = fetcher;
    return 0;
}

void fetcher_destroy(struct fetcher *fetcher)
{
    if (!fetcher) {
        return;
    }
    while (fetcher->fetches) {
        fetch_cancel(fetcher->fetches);
    }
    curl_multi_cleanup(fetcher->multi);
    loop_timer_stop(fetcher->loop, &fetcher->timer);
    curl_global_cleanup();
    mem_free(fetcher);
}

static bool is_one_line(struct str text)
{
    return text.len > 0 && !memchr(text.ptr, '\0', text.len) && !memchr(text.ptr, '\r', text.len) &&
           !memchr(text.ptr, '\n', text.len);
}

static int add_header(struct fetch *fetch, struct str header)
{
    if (!is_one_line(header)) {
        return ERR_SYNTAX;
    }
    char *line = mem_strndup(header.ptr, header.len);
    struct curl_slist *longer = line ? curl_slist_append(fetch->headers, line) : NULL;
    mem_free(line);
    if (!longer) {
        return ERR_NO_MEMORY;
    }
    fetch->headers = longer;
    return 0;
}

static bool has_scheme(struct str url, struct str scheme)
{
    return url.len > scheme.len && str_equal_nocase(str_make(url.ptr, scheme.len), scheme);
}

static int set_url(struct fetch *fetch, struct str url)
{
    if (!is_one_line(url) ||
        !(has_scheme(url, STR("http://")) || has_scheme(url, STR("https://")))) {
        return ERR_SYNTAX;
    }
    char *text = mem_strndup(url.ptr, url.len);
    CURLcode code = text ? curl_easy_setopt(fetch->easy, CURLOPT_URL, text) : CURLE_OUT_OF_MEMORY;
    mem_free(text);
    return code ? ERR_NO_MEMORY : 0;
}

static void set_fixed_options(struct fetch *fetch)
{
    CURL *easy = fetch->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->detail);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "tidegate/" TIDEGATE_VERSION);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_curl_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_curl_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_curl_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
}

static int set_post(struct fetch *fetch, struct str body)
{
    CURL *easy = fetch->easy;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body.len > 0 ? body.ptr : "");
    /* curl would wait a second for "100 Continue" before a body of more than 1 MiB. */
    return code ? ERR_NO_MEMORY : add_header(fetch, STR("Expect:"));
}

static int set_ca(struct fetch *fetch, struct str ca)
{
    struct curl_blob blob = {(void *)(uintptr_t)ca.ptr, ca.len, CURL_BLOB_COPY};
    if (ca.len == 0) {
        return 0;
    }
    /* Else what is in the system's folder would do, too. */
    curl_easy_setopt(fetch->easy, CURLOPT_CAPATH, NULL);
    return curl_easy_setopt(fetch->easy, CURLOPT_CAINFO_BLOB, &blob) ? ERR_NO_MEMORY : 0;
}

static int set_request(struct fetch *fetch, const struct fetch_request *request)
{
    set_fixed_options(fetch);
    curl_easy_setopt(fetch->easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(fetch->easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->response_bytes);
    buf_init(&fetch->body, request->response_bytes);
    int err = set_url(fetch, request->url);
    err = err ? err : set_ca(fetch, request->ca);
    if (!err && request->is_post) {
        err = set_post(fetch, request->body);
    }
    for (size_t i = 0; !err && i < request->header_count; i++) {
        err = add_header(fetch, request->headers[i]);
    }
    curl_easy_setopt(fetch->easy, CURLOPT_HTTPHEADER, fetch->headers);
    return err;
}

int fetch_start(struct fetch **out_fetch, struct fetcher *fetcher,
                const struct fetch_request *request, fetch_done_cb on_done, void *owner)
{
    ASSERT(request->timeout_ms > 0 && request->response_bytes > 0);
    struct fetch *fetch = mem_zalloc(sizeof(*fetch));
    if (!fetch) {
        return ERR_NO_MEMORY;
    }
    fetch->fetcher = fetcher;
    fetch->on_done = on_done;
    fetch->owner = owner;
    fetch->easy = curl_easy_init();
    int err = fetch->easy ? set_request(fetch, request) : ERR_NO_MEMORY;
    if (!err && curl_multi_add_handle(fetcher->multi, fetch->easy)) {
        err = ERR_NO_MEMORY;
    }
    if (err) {
        fetch_free(fetch);
        return err;
    }
    fetch->next = fetcher->fetches;
    fetch->link = &fetcher->fetches;
    if (fetch->next) {
        fetch->next->link = &fetch->next;
    }
    fetcher->fetches = fetch;
    if (out_fetch) {
        *out_fetch = fetch;
    }
    return 0;
}

void fetch_cancel(struct fetch *fetch)
{
    if (fetch) {
        fetch_finish(fetch, ERR_CANCELED);
    }
}
