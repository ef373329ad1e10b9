/* For tests: the system's resolver, played by the test. The program's own getaddrinfo is taken
 * before libc's. Names are answered from a table; while it is held, not at all. */
#ifndef TIDEGATE_NET_RESOLVE_TEST_HELP_H
#define TIDEGATE_NET_RESOLVE_TEST_HELP_H

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "net/resolve.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t released;
    bool is_held;
    const char *moving; /* what moving.test is now */
} names = {.lock = PTHREAD_MUTEX_INITIALIZER, .released = PTHREAD_COND_INITIALIZER};

/* Addresses with a space behind each. */
static const struct {
    const char *name;
    const char *ips;
    int gai;
} known_names[] = {
    {"two.test", "192.0.2.1 192.0.2.2 ", 0},
    {"many.test", "::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8 ::9 ", 0},
    {"none.test", "", 0},
    {"later.test", "", EAI_AGAIN},
    {"server.test", "127.0.0.1 ", 0},
    {"second.test", "127.0.0.2 127.0.0.1 ", 0}, /* servers of tests listen on the latter */
};

static inline void names_hold(bool is_held)
{
    pthread_mutex_lock(&names.lock);
    names.is_held = is_held;
    pthread_cond_broadcast(&names.released);
    pthread_mutex_unlock(&names.lock);
}

static inline void names_wait_while_held(void)
{
    pthread_mutex_lock(&names.lock);
    while (names.is_held) {
        pthread_cond_wait(&names.released, &names.lock);
    }
    pthread_mutex_unlock(&names.lock);
}

static inline struct addrinfo *names_make(const char *ip, const char *service)
{
    struct addrinfo *info = calloc(1, sizeof(*info));
    struct sockaddr_in6 *name = calloc(1, sizeof(*name)); /* has room for both */
    info->ai_addr = (struct sockaddr *)name;
    info->ai_addrlen = sizeof(*name);
    info->ai_socktype = SOCK_STREAM;
    name->sin6_port = htons(
        (uint16_t)(service ? atoi(service) : 0)); /* at the same place in both */
    if (inet_pton(AF_INET, ip, &((struct sockaddr_in *)(void *)name)->sin_addr) == 1) {
        name->sin6_family = AF_INET;
        info->ai_addrlen = sizeof(struct sockaddr_in);
    } else if (inet_pton(AF_INET6, ip, &name->sin6_addr) == 1) {
        name->sin6_family = AF_INET6;
    } else {
        freeaddrinfo(info);
        return NULL;
    }
    info->ai_family = name->sin6_family;
    return info;
}

static inline struct addrinfo *names_make_all(const char *ips, const char *service)
{
    struct addrinfo *first = NULL;
    struct addrinfo **link = &first;
    char ip[INET6_ADDRSTRLEN];
    for (; *ips; ips = strchr(ips, ' ') + 1) {
        size_t len = strcspn(ips, " ");
        memcpy(ip, ips, len);
        ip[len] = '\0';
        *link = names_make(ip, service);
        link = &(*link)->ai_next;
    }
    return first;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out_found)
{
    *out_found = names_make(host, service);
    if (*out_found) {
        return 0;
    }
    if (hints->ai_flags & AI_NUMERICHOST) {
        return EAI_NONAME;
    }
    names_wait_while_held();
    if (names.moving && strcmp(host, "moving.test") == 0) {
        *out_found = names_make_all(names.moving, service);
        return 0;
    }
    for (size_t i = 0; i < sizeof(known_names) / sizeof(known_names[0]); i++) {
        if (strcmp(host, known_names[i].name) == 0) {
            *out_found = names_make_all(known_names[i].ips, service);
            return known_names[i].gai;
        }
    }
    return EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *found)
{
    while (found) {
        struct addrinfo *next = found->ai_next;
        free(found->ai_addr);
        free(found);
        found = next;
    }
}

/* The threads of look-ups end a little after their answers. */
static inline bool names_all_quiet(void)
{
    for (long tries = 0; resolve_thread_count() > 0 && tries < 100000000; tries++) {
        sched_yield();
    }
    return resolve_thread_count() == 0;
}

#endif
