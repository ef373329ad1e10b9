/* tidegate: one binary, a verb a job. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/check.h"
#include "app/metrics.h"
#include "app/serve.h"
#include "app/verbs.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/exit_code.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} verbs[] = {
    {"serve", app_serve_main, "run the gateway"},
    {"check", app_check_main, "say what is wrong with a configuration"},
    {"metrics", app_metrics_main, "list the metrics that this gateway can expose"},
    {"key", app_key_main, "make an API key"},
    {"token", app_token_main, "mint a token for tests"},
    {"alerts", app_alerts_main, "list the alert rules, for Prometheus too"},
    {"push", cli_push, "push a message"},
    {"tail", cli_tail, "print messages: as a client, or those sent to somebody"},
    {"nodes", cli_nodes, "list the nodes of the cluster"},
    {"users", cli_users, "list who is online"},
    {"doctor", cli_doctor, "say what keeps sessions from living, here or in front"},
    {"top", cli_top, "show what the cluster does, live"},
    {"drain", cli_drain, "send a node's sessions to the others"},
};

enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static int print_help(FILE *to)
{
    fputs("usage: tidegate VERB [options]\n\n", to);
    for (int i = 0; i < VERBS; i++) {
        fprintf(to, "  %-8s %s\n", verbs[i].name, verbs[i].help);
    }
    fputs("\ntidegate VERB --help tells a verb's options; see also tidegate(1).\n", to);
    return fflush(to) ? EXIT_CODE_INTERNAL : EXIT_CODE_OK;
}

/* Started with a standard stream closed, the first socket would take its number, and the log would
 * go to a client. */
static void hold_standard_streams(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    hold_standard_streams();
    if (argc < 2) {
        print_help(stderr);
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return print_help(stdout);
    }
    if (strcmp(argv[1], "--version") == 0) {
        return printf("tidegate %s\n", TIDEGATE_VERSION) < 0 ? EXIT_CODE_INTERNAL : EXIT_CODE_OK;
    }
    for (int i = 0; i < VERBS; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            return verbs[i].run(argc - 1, argv + 1);
        }
    }
    args_complain(argv[1], "there is no such verb; try tidegate --help");
    return EXIT_CODE_USAGE;
}
