/* `tidegate doctor`: is this machine fit for a gateway, and does what is in front of one let
 * sessions live? */
#include "base/err.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/doctor_front.h"
#include "cli/doctor_local.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/table.h"

struct doctor {
    struct doctor_report report;
    struct doctor_local local;
    struct doctor_front front;
    const char *url_text, *idle_text, *timeout_text, *sessions_text, *pid_text, *token_file;
};

static const char *check_values(struct doctor *doctor)
{
    uint64_t pid;
    doctor->front.idle_ms = 90000;
    doctor->front.timeout_ms = 10000;
    doctor->front.most_ms = 5000;
    doctor->local.sessions = 10000;
    bool no_idle = doctor->idle_text && str_equal(str_of(doctor->idle_text), STR("0"));
    if (doctor->idle_text && !no_idle &&
        !args_duration_ms(doctor->idle_text, &doctor->front.idle_ms)) {
        return "--idle is a time with its unit, like 90s, 5m, or 0";
    }
    doctor->front.idle_ms = no_idle ? 0 : doctor->front.idle_ms;
    if (doctor->timeout_text &&
        !args_duration_ms(doctor->timeout_text, &doctor->front.timeout_ms)) {
        return "--timeout is a time with its unit, like 500ms, 10s, 1m";
    }
    doctor->front.most_ms = doctor->front.timeout_ms < doctor->front.most_ms
                                ? doctor->front.timeout_ms
                                : doctor->front.most_ms;
    if (doctor->sessions_text &&
        !args_number(doctor->sessions_text, 1, 100000000, &doctor->local.sessions)) {
        return "--sessions is a number from 1 to 100000000";
    }
    if (doctor->pid_text && !args_number(doctor->pid_text, 1, INT32_MAX, &pid)) {
        return "--pid is the number of a process";
    }
    return NULL;
}

/* A path of an endpoint at the end of the URL is not part of where the gateway is. */
static void cut_endpoint(struct url *url)
{
    static const struct str endpoints[] = {STR("/v1/ws"), STR("/v1/sse"), STR("/v1")};
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        if (str_ends_with(url->target, endpoints[i])) {
            url->target.len -= endpoints[i].len;
            return;
        }
    }
}

static bool read_front(struct doctor *doctor)
{
    const char *reason;
    struct doctor_front *front = &doctor->front;
    if (url_parse(&front->url, doctor->url_text, &reason)) {
        args_complain("doctor", "the URL can't be used: %s; like https://push.example.com", reason);
        return false;
    }
    if (front->url.target.len > 0 && memchr(front->url.target.ptr, '?', front->url.target.len)) {
        args_complain("doctor", "the URL has a query; name the app with --app");
        return false;
    }
    cut_endpoint(&front->url);
    int err = secret_read(&front->token, doctor->token_file, "TIDEGATE_TOKEN");
    if (err && err != ERR_NOT_FOUND) {
        args_complain("doctor",
                      "the token in %s can't be used: %s; it is one line of visible characters",
                      doctor->token_file ? doctor->token_file : "TIDEGATE_TOKEN",
                      err == ERR_SYNTAX ? "empty, or other characters in it" : err_str(err));
        return false;
    }
    return true;
}

static int run(struct doctor *doctor)
{
    doctor->report.color = table_may_color() && !doctor->report.json;
    if (doctor->url_text && !read_front(doctor)) {
        return EXIT_CODE_USAGE;
    }
    if (interrupt_watch()) {
        args_complain("doctor", "signals can't be watched");
        return EXIT_CODE_INTERNAL;
    }
    if (!doctor->url_text || doctor->local.config || doctor->sessions_text || doctor->pid_text) {
        doctor->local.pid = doctor->pid_text ? doctor->pid_text : "self";
        doctor_check_local(&doctor->local, &doctor->report);
    }
    if (doctor->url_text) {
        doctor_check_front(&doctor->front);
    }
    return doctor_report_end(&doctor->report);
}

int cli_doctor(int argc, char **argv)
{
    struct doctor doctor = {.local = {.root = "", .self = "/proc/self/exe"}};
    doctor.front.report = &doctor.report;
    const struct args_option table[] = {
        {"sessions", "N", "that this machine is to hold (default 10000)",
         .text = &doctor.sessions_text},
        {"pid", "PID", "look at the limits of this process: a gateway that runs",
         .text = &doctor.pid_text},
        {"config", "FILE", "check this configuration, too", .text = &doctor.local.config},
        {"idle", "TIME", "of URL: be quiet for so long (default 90s; 0: not at all)",
         .text = &doctor.idle_text},
        {"app", "A", "the app to connect to", .text = &doctor.front.app},
        {"token-file", "FILE", "the token's file (else TIDEGATE_TOKEN)",
         .text = &doctor.token_file},
        {"ca", "FILE", "trust these authorities (PEM) instead of the system's",
         .text = &doctor.front.ca_file},
        {"timeout", "TIME", "for each step (default 10s)", .text = &doctor.timeout_text},
        {"json", NULL, "print one JSON object a check, one a line", .flag = &doctor.report.json},
    };
    const struct args_verb verb = {
        .name = "doctor",
        .synopsis = "[URL] [options]",
        .summary = "Without a URL: is this machine fit for a gateway? With one: connects as a "
                   "client, through the proxy in\nfront, idles, and says who cuts it and why.",
        .options = table,
        .option_count = sizeof(table) / sizeof(table[0]),
        .operand = &doctor.url_text,
        .operand_is_optional = true};
    int code;
    if (!args_read(&verb, argc, argv, &code)) {
        return code;
    }
    const char *mistake = check_values(&doctor);
    if (mistake) {
        args_complain("doctor", "%s", mistake);
        return EXIT_CODE_USAGE;
    }
    code = run(&doctor);
    secret_wipe(&doctor.front.token);
    return code;
}
