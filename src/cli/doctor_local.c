#include "cli/doctor_local.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TEXT_MAX = 8192,
    RESERVE = 1024,      /* descriptors beside those of sessions */
    BACKLOG = 4096,      /* connects that come at once when another node dies */
    USER_BYTES = 512,    /* of an idle session, with room for what it is sent */
    KERNEL_BYTES = 5120, /* of its socket, idle: docs/performance.md */
    TOO_SLOW_BYTES = 1 << 20,
};

extern char **environ;

/* ---- files of the kernel ---- */

/* False when it is not there. The text ends with a NUL. */
static bool read_text(const struct doctor_local *local, const char *path, char text[TEXT_MAX])
{
    char whole[512];
    snprintf(whole, sizeof(whole), "%s%s", local->root, path);
    int fd = open(whole, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t len = read(fd, text, TEXT_MAX - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* Up to max numbers of one line. Returns how many. */
static int read_numbers(const struct doctor_local *local, const char *path, uint64_t *out, int max)
{
    char text[TEXT_MAX];
    char *at = text;
    int count = 0;
    if (!read_text(local, path, text)) {
        return 0;
    }
    while (count < max) {
        char *end;
        unsigned long long number = strtoull(at, &end, 10);
        if (end == at) {
            break;
        }
        out[count++] = number;
        at = end;
    }
    return count;
}

/* "1234", or "unlimited". Returns what is behind it; NULL: it is no number. */
static const char *take_number(const char *at, uint64_t *out)
{
    char *end;
    at += strspn(at, " \t:");
    if (strncmp(at, "unlimited", 9) == 0) {
        *out = UINT64_MAX;
        return at + 9;
    }
    *out = strtoull(at, &end, 10);
    return end == at ? NULL : end;
}

/* "Name:   1234 kB": the number behind the name, or the next one. */
static bool find_number(const char *text, const char *name, bool is_second, uint64_t *out)
{
    const char *at = strstr(text, name);
    at = at ? take_number(at + strlen(name), out) : NULL;
    return at && (!is_second || take_number(at, out));
}

static unsigned long long shown(uint64_t number)
{
    return (unsigned long long)number;
}

/* ---- descriptors ---- */

/* A gateway raises its soft limit to the hard one when it starts. */
static void check_descriptors(const struct doctor_local *local, struct doctor_report *report)
{
    char path[64];
    char text[TEXT_MAX];
    uint64_t max = 0;
    uint64_t needed = local->sessions + RESERVE;
    snprintf(path, sizeof(path), "/proc/%s/limits", local->pid);
    if (!read_text(local, path, text) ||
        !find_number(text, "Max open files", !strcmp(local->pid, "self"), &max)) {
        doctor_say(report, "local.descriptors", DOCTOR_SKIP, NULL, "%s can't be read", path);
        return;
    }
    if (max >= needed) {
        doctor_say(report, "local.descriptors", DOCTOR_OK, NULL,
                   "%llu open files are allowed, enough for %llu sessions", shown(max),
                   shown(local->sessions));
        return;
    }
    doctor_say(
        report, "local.descriptors", DOCTOR_FAIL,
        "LimitNOFILE= in the unit of systemd, or ulimit -Hn; without --pid this is the limit "
        "of your shell, not of the service",
        "%llu open files are allowed, %llu sessions need %llu: connects beyond are not "
        "accepted",
        shown(max), shown(local->sessions), shown(needed));
}

static void check_file_table(const struct doctor_local *local, struct doctor_report *report)
{
    uint64_t max;
    if (read_numbers(local, "/proc/sys/fs/file-max", &max, 1) && max < local->sessions + RESERVE) {
        doctor_say(report, "local.file_max", DOCTOR_FAIL, "sysctl -w fs.file-max=…",
                   "the whole system may have %llu open files, fewer than %llu sessions need",
                   shown(max), shown(local->sessions));
    }
}

/* ---- the network's settings ---- */

struct setting {
    const char *check;
    const char *path;
    const char *fix;
    const char *why;
};

static void check_least(const struct doctor_local *local, struct doctor_report *report,
                        const struct setting *setting, uint64_t least)
{
    uint64_t value;
    if (!read_numbers(local, setting->path, &value, 1)) {
        doctor_say(report, setting->check, DOCTOR_SKIP, NULL, "%s can't be read", setting->path);
    } else if (value >= least) {
        doctor_say(report, setting->check, DOCTOR_OK, NULL, "%llu", shown(value));
    } else {
        doctor_say(report, setting->check, DOCTOR_WARN, setting->fix, "%llu; %s", shown(value),
                   setting->why);
    }
}

static void check_backlogs(const struct doctor_local *local, struct doctor_report *report)
{
    static const struct setting accepted = {
        "local.somaxconn", "/proc/sys/net/core/somaxconn", "sysctl -w net.core.somaxconn=4096",
        "clients that come at once, as after the loss of a node, are dropped and try again after "
        "seconds"};
    static const struct setting half_open = {
        "local.syn_backlog", "/proc/sys/net/ipv4/tcp_max_syn_backlog",
        "sysctl -w net.ipv4.tcp_max_syn_backlog=4096",
        "handshakes that come at once are dropped, or get SYN cookies, which lose TCP options"};
    check_least(local, report, &accepted, BACKLOG);
    check_least(local, report, &half_open, local->sessions < BACKLOG ? 1024 : BACKLOG);
}

/* Under pressure the kernel shrinks what sockets may hold: every push to a slow client waits. */
static void check_tcp_memory(const struct doctor_local *local, struct doctor_report *report)
{
    uint64_t pages[3];
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (read_numbers(local, "/proc/sys/net/ipv4/tcp_mem", pages, 3) != 3) {
        doctor_say(report, "local.tcp_mem", DOCTOR_SKIP, NULL, "net.ipv4.tcp_mem can't be read");
        return;
    }
    uint64_t needed = local->sessions; /* a page each that has something to send */
    unsigned long long mib = shown(pages[1] * page >> 20);
    if (pages[1] >= needed) {
        doctor_say(report, "local.tcp_mem", DOCTOR_OK, NULL, "%llu MiB before pressure", mib);
        return;
    }
    doctor_say(report, "local.tcp_mem", DOCTOR_WARN,
               "raise net.ipv4.tcp_mem (pages: low, pressure, high)",
               "pressure begins at %llu MiB: a broadcast to %llu sessions passes it, and then all "
               "sockets of the machine may hold less",
               mib, shown(local->sessions));
}

static void check_tcp_buffers(const struct doctor_local *local, struct doctor_report *report)
{
    uint64_t sizes[3];
    if (read_numbers(local, "/proc/sys/net/ipv4/tcp_wmem", sizes, 3) != 3) {
        doctor_say(report, "local.tcp_wmem", DOCTOR_SKIP, NULL, "net.ipv4.tcp_wmem can't be read");
        return;
    }
    if (sizes[1] <= TOO_SLOW_BYTES) {
        doctor_say(report, "local.tcp_wmem", DOCTOR_OK, NULL, "%llu bytes by default, %llu at most",
                   shown(sizes[1]), shown(sizes[2]));
        return;
    }
    doctor_say(report, "local.tcp_wmem", DOCTOR_WARN,
               "sysctl -w net.ipv4.tcp_wmem='4096 16384 4194304'",
               "a socket may hold %llu bytes from the start: each client that does not read costs "
               "so much of the kernel's memory before the gateway sees that it is slow",
               shown(sizes[1]));
}

/* A proxy on this machine has one port for each session towards one address of the gateway. */
static void check_ports(const struct doctor_local *local, struct doctor_report *report)
{
    uint64_t range[2];
    if (read_numbers(local, "/proc/sys/net/ipv4/ip_local_port_range", range, 2) != 2 ||
        range[1] < range[0]) {
        doctor_say(report, "local.ports", DOCTOR_SKIP, NULL,
                   "net.ipv4.ip_local_port_range can't be read");
        return;
    }
    uint64_t count = range[1] - range[0] + 1;
    if (count >= local->sessions) {
        doctor_say(report, "local.ports", DOCTOR_OK, NULL,
                   "%llu ports, should a proxy on this machine stand in front", shown(count));
        return;
    }
    doctor_say(report, "local.ports", DOCTOR_WARN,
               "net.ipv4.ip_local_port_range='1024 65535', or let the proxy connect to several "
               "addresses (127.0.0.1, 127.0.0.2, …) or over several of its own",
               "%llu ports: a proxy on this machine can't open %llu connections to one address of "
               "the gateway",
               shown(count), shown(local->sessions));
}

static void check_conntrack(const struct doctor_local *local, struct doctor_report *report)
{
    uint64_t max;
    if (!read_numbers(local, "/proc/sys/net/netfilter/nf_conntrack_max", &max, 1)) {
        doctor_say(report, "local.conntrack", DOCTOR_OK, NULL, "connections are not tracked");
        return;
    }
    if (max >= local->sessions + local->sessions / 4) {
        doctor_say(report, "local.conntrack", DOCTOR_OK, NULL, "%llu connections", shown(max));
        return;
    }
    doctor_say(report, "local.conntrack", DOCTOR_FAIL,
               "sysctl -w net.netfilter.nf_conntrack_max=…, or don't track the gateway's ports",
               "the firewall tracks %llu connections: beyond, packets of new and old sessions are "
               "dropped",
               shown(max));
}

/* ---- memory ---- */

/* Of the cgroup (version 2) that the process is in; UINT64_MAX: none. */
static uint64_t cgroup_limit(const struct doctor_local *local)
{
    char text[TEXT_MAX];
    char path[1024];
    uint64_t limit;
    snprintf(path, sizeof(path), "/proc/%s/cgroup", local->pid);
    if (!read_text(local, path, text) || strncmp(text, "0::", 3) != 0) {
        return UINT64_MAX;
    }
    text[strcspn(text, "\n")] = '\0';
    snprintf(path, sizeof(path), "/sys/fs/cgroup%.900s/memory.max", text + 3);
    return read_numbers(local, path, &limit, 1) ? limit : UINT64_MAX;
}

static void check_memory(const struct doctor_local *local, struct doctor_report *report)
{
    char text[TEXT_MAX];
    uint64_t total_kib;
    if (!read_text(local, "/proc/meminfo", text) ||
        !find_number(text, "MemTotal", false, &total_kib)) {
        doctor_say(report, "local.memory", DOCTOR_SKIP, NULL, "/proc/meminfo can't be read");
        return;
    }
    uint64_t group = cgroup_limit(local);
    bool is_group = group < total_kib << 10;
    uint64_t has = is_group ? group : total_kib << 10;
    uint64_t needed = local->sessions * (USER_BYTES + KERNEL_BYTES);
    const char *whose = is_group ? "the cgroup has" : "the machine has";
    if (has / 2 >= needed) {
        doctor_say(report, "local.memory", DOCTOR_OK, NULL,
                   "%s %llu MiB; %llu idle sessions take %llu MiB, most of it the kernel's", whose,
                   shown(has >> 20), shown(local->sessions), shown(needed >> 20));
        return;
    }
    doctor_say(report, "local.memory", needed > has ? DOCTOR_FAIL : DOCTOR_WARN,
               "more memory, fewer sessions a node, and limits.memory, so that the gateway refuses "
               "before the kernel kills it",
               "%s %llu MiB, and %llu idle sessions alone take %llu MiB (sockets of the kernel "
               "count in a cgroup, too)",
               whose, shown(has >> 20), shown(local->sessions), shown(needed >> 20));
}

/* ---- the clock ---- */

/* Tokens, tickets and grants end by the wall clock. */
static void check_clock(struct doctor_report *report)
{
    struct timex about = {0};
    int state = adjtimex(&about);
    if (state < 0) {
        doctor_say(report, "local.clock", DOCTOR_SKIP, NULL, "the kernel does not say");
    } else if (state == TIME_ERROR || about.status & STA_UNSYNC) {
        doctor_say(report, "local.clock", DOCTOR_WARN,
                   "run chrony or systemd-timesyncd; in a container the host does it",
                   "the kernel's clock is not synchronized: tokens end too early or too late, and "
                   "nodes disagree about them");
    } else {
        doctor_say(report, "local.clock", DOCTOR_OK, NULL, "synchronized, off by at most %lld ms",
                   (long long)about.maxerror / 1000);
    }
}

/* ---- the configuration ---- */

/* What `tidegate check` says about it, on our own outputs but for its words. */
static void check_config(const struct doctor_local *local, struct doctor_report *report)
{
    char *argv[] = {(char *)"tidegate", (char *)"check", (char *)local->config, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int err = posix_spawn(&pid, local->self, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (err || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status)) {
        doctor_say(report, "local.config", DOCTOR_SKIP, NULL, "tidegate check could not be run");
    } else if (WEXITSTATUS(status) == 0) {
        doctor_say(report, "local.config", DOCTOR_OK, NULL, "%s is good", local->config);
    } else {
        doctor_say(report, "local.config", DOCTOR_FAIL, "tidegate check FILE says it line by line",
                   "%s has mistakes", local->config);
    }
}

void doctor_check_local(const struct doctor_local *local, struct doctor_report *report)
{
    check_descriptors(local, report);
    check_file_table(local, report);
    check_backlogs(local, report);
    check_tcp_memory(local, report);
    check_tcp_buffers(local, report);
    check_ports(local, report);
    check_conntrack(local, report);
    check_memory(local, report);
    check_clock(report);
    if (local->config) {
        check_config(local, report);
    }
}
