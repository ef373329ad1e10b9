/* The load generator: opens sessions, runs phases, prints one JSON line. The main thread receives,
 * a second one publishes. Sessions that are lost and messages that do not arrive are counted, never
 * hidden: the driver refuses figures of a run that lost any. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "bench_util.h"
#include "load_options.h"
#include "procstat.h"
#include "publisher.h"
#include "receiver.h"

enum {
    OPEN_TIMEOUT_MS = 60000,
    DELIVERY_PATIENCE_MS = 2000, /* no delivery for so long: the rest is lost */
    SURPLUS_WAIT_MS = 100,       /* time for deliveries nobody expects */
};

struct load {
    struct load_options options;
    struct receiver receiver;
};

static double us(uint64_t ns)
{
    return (double)ns / 1e3;
}

static double per(double amount, double count)
{
    return count > 0 ? amount / count : 0;
}

static void print_text(const char *label, const char *text)
{
    printf(",\"%s\":\"", label);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ') {
            printf("\\u%04x", (unsigned char)*text);
        } else {
            putchar(*text);
        }
    }
    putchar('"');
}

static void print_quantiles(const char *label, const struct histogram *histogram)
{
    printf(",\"%s\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", label,
           us(histogram_quantile(histogram, 0.5)), us(histogram_quantile(histogram, 0.99)),
           us(histogram_quantile(histogram, 0.999)), us(histogram->max));
}

static void print_open(const struct load *load, const struct procstat *before,
                       const struct procstat *opened, const struct procstat *settled)
{
    const struct receiver *receiver = &load->receiver;
    double count = receiver->count - load->options.warm;
    double secs = (double)(opened->wall_ns - before->wall_ns) / 1e9;
    printf("{\"sessions\":%u,\"ready\":%u,\"lost\":%u", receiver->count, receiver->ready,
           receiver->lost);
    print_text("first_loss", receiver->first_loss);
    printf(",\"open\":{\"secs\":%.4f,\"per_s\":%.0f,\"cpu_us\":%.3f,\"own_cpu_us\":%.3f}", secs,
           per(count, secs), per(us(opened->cpu_ns - before->cpu_ns), count),
           per(us(opened->own_cpu_ns - before->own_cpu_ns), count));
    printf(",\"memory\":{\"rss\":%.0f,\"pss\":%.0f,\"slab\":%.0f,\"tcp\":%.0f}",
           per((double)settled->rss - (double)before->rss, count),
           per((double)settled->pss - (double)before->pss, count),
           per((double)settled->slab - (double)before->slab, count),
           per((double)settled->tcp_mem - (double)before->tcp_mem, count));
}

static void open_sessions(struct load *load)
{
    const struct load_options *options = &load->options;
    struct procstat before;
    struct procstat opened;
    struct procstat settled;
    receiver_open(&load->receiver, 0, options->warm, options->window, OPEN_TIMEOUT_MS);
    receiver_rest(&load->receiver, options->settle_ms);
    procstat_take_memory(&before, &options->server);
    receiver_open(&load->receiver, options->warm, options->session_count, options->window,
                  OPEN_TIMEOUT_MS);
    procstat_take(&opened, &options->server);
    receiver_rest(&load->receiver, options->settle_ms);
    procstat_take_memory(&settled, &options->server);
    print_open(load, &before, &opened, &settled);
}

static void print_deliveries(const struct receiver *receiver, const struct publisher_result *result,
                             double secs)
{
    const struct receiver_counts *counts = &receiver->counts;
    printf(",\"expected\":%llu,\"delivered\":%llu,\"delivered_per_s\":%.0f",
           (unsigned long long)result->expected, (unsigned long long)counts->delivered,
           per((double)counts->delivered, secs));
    printf(",\"out_of_order\":%llu,\"misrouted\":%llu,\"stray\":%llu,\"compressed\":%llu,"
           "\"inflated\":%llu,\"broken\":%llu,\"bytes\":%llu",
           (unsigned long long)counts->out_of_order, (unsigned long long)counts->misrouted,
           (unsigned long long)counts->stray, (unsigned long long)counts->compressed,
           (unsigned long long)counts->inflated, (unsigned long long)counts->broken,
           (unsigned long long)counts->bytes);
    print_quantiles("latency_us", &receiver->latency);
}

static void print_publish(const struct load *load, const struct publisher_result *result,
                          const struct procstat *before, const struct procstat *after)
{
    const struct receiver *receiver = &load->receiver;
    double publish_secs = (double)result->wall_ns / 1e9;
    double cpu_us = us(after->cpu_ns - before->cpu_ns);
    double secs = (double)(receiver->last_delivery_ns - before->wall_ns) / 1e9;
    printf(
        ",\"messages\":%llu,\"refused\":%llu,\"conns_lost\":%llu,\"secs\":%.4f,\"requests_per_s\":%.0f,"
        "\"messages_per_s\":%.0f",
        (unsigned long long)result->messages, (unsigned long long)result->refused,
        (unsigned long long)result->conns_lost, publish_secs,
        per((double)result->accepted, publish_secs), per((double)result->messages, publish_secs));
    print_text("first_refusal", result->first_refusal);
    print_quantiles("answer_us", &result->answer);
    print_quantiles("lag_us", &result->lag);
    print_deliveries(receiver, result, secs > publish_secs ? secs : publish_secs);
    printf(",\"cpu_us_per_message\":%.3f,\"cpu_us_per_delivery\":%.4f,\"cores\":%.3f,"
           "\"own_cpu_us_per_delivery\":%.4f",
           per(cpu_us, (double)result->messages), per(cpu_us, (double)receiver->counts.delivered),
           per(cpu_us, us(after->wall_ns - before->wall_ns)),
           per(us(after->own_cpu_ns - before->own_cpu_ns), (double)receiver->counts.delivered));
}

static bool deliveries_are_over(const struct receiver *receiver, uint64_t expected)
{
    return receiver->counts.delivered >= expected ||
           bench_now_ns() - receiver->last_delivery_ns > DELIVERY_PATIENCE_MS * (uint64_t)1000000;
}

static void run_publish(struct load *load, const struct phase *phase, unsigned phase_no)
{
    struct receiver *receiver = &load->receiver;
    const struct publisher_config config = {.phase = *phase,
                                            .phase_no = phase_no,
                                            .ports = load->options.api_ports,
                                            .users = load->options.sessions.users,
                                            .sessions = receiver->count,
                                            .group = load->options.sessions.group,
                                            .headers = load->options.headers,
                                            .progress = &receiver->progress};
    static struct publisher_result result;
    struct procstat before;
    struct procstat after;
    receiver_begin_phase(receiver, phase_no, phase->to == PHASE_TO_USER && phase->fan == 1);
    procstat_take(&before, &load->options.server);
    struct publisher *publisher = publisher_start(&config);
    while (!publisher_is_done(publisher)) {
        receiver_poll(receiver, 5);
    }
    publisher_finish(publisher, &result);
    while (!deliveries_are_over(receiver, result.expected)) {
        receiver_poll(receiver, 5);
    }
    procstat_take(&after, &load->options.server);
    receiver_rest(receiver, SURPLUS_WAIT_MS);
    print_publish(load, &result, &before, &after);
}

/* Everybody leaves, the server sees them off, everybody comes back in the same instant. */
static void run_storm(struct load *load)
{
    struct receiver *receiver = &load->receiver;
    struct procstat before;
    struct procstat after;
    receiver_close_all(receiver, false);
    receiver_rest(receiver, load->options.settle_ms);
    procstat_take(&before, &load->options.server);
    receiver_open(receiver, 0, receiver->count, 0, OPEN_TIMEOUT_MS);
    procstat_take(&after, &load->options.server);
    printf(",\"back\":%u,\"secs\":%.4f,\"cpu_us_per_session\":%.3f", receiver->ready,
           (double)(after.wall_ns - before.wall_ns) / 1e9,
           per(us(after.cpu_ns - before.cpu_ns), receiver->count));
}

static void run_phase(struct load *load, const struct phase *phase, unsigned phase_no)
{
    uint32_t lost_before = load->receiver.lost;
    printf("%s{\"name\":\"%s\"", phase_no ? "," : "", phase->name);
    if (phase->storm) {
        run_storm(load);
    } else {
        run_publish(load, phase, phase_no);
    }
    printf(",\"sessions_lost\":%u}", load->receiver.lost - lost_before);
}

int main(int argc, char **argv)
{
    static struct load load;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no load without its driver */
    bench_raise_descriptors();
    load_options_parse(&load.options, argc, argv);
    receiver_init(&load.receiver, &load.options.sessions, load.options.session_count);
    open_sessions(&load);
    printf(",\"phases\":[");
    for (unsigned i = 0; i < load.options.phase_count; i++) {
        run_phase(&load, &load.options.phases[i], i);
    }
    printf("]}\n");
    receiver_close_all(&load.receiver, true);
    return 0;
}
