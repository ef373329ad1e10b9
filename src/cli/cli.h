/* The verbs that are clients of a running gateway. Each takes its own arguments (argv[0] is the
 * verb), does its work, and returns an enum exit_code. Data go to stdout, words to stderr. */
#ifndef TIDEGATE_CLI_CLI_H
#define TIDEGATE_CLI_CLI_H

int cli_push(int argc, char **argv);
int cli_tail(int argc, char **argv);
int cli_nodes(int argc, char **argv);
int cli_users(int argc, char **argv);
int cli_drain(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_top(int argc, char **argv);

#endif
