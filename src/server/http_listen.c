#include "server/http_listen.h"

static void on_accept(void *owner, int fd, const struct addr *peer)
{
    http_service_accept(owner, fd, peer);
}

int http_listen(struct listener **out_listener, struct http_service *service, struct addr *addr)
{
    int err = listener_check_free(addr);
    err = err ? err
              : listener_create(out_listener, http_service_loop(service), addr, 0, on_accept,
                                service);
    if (!err) {
        listener_addr(*out_listener, addr);
    }
    return err;
}
