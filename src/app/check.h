/* `tidegate check FILE`: says what is wrong with a configuration. */
#ifndef TIDEGATE_APP_CHECK_H
#define TIDEGATE_APP_CHECK_H

/* argv[0] is "check". Mistakes and warnings go to stderr, `FILE: OK` to stdout; with --json all of
 * it goes to stdout as one object. The environment's TIDEGATE_ variables are checked too, as serve
 * would use them. Returns an enum exit_code: OK (perhaps with warnings), REFUSED for mistakes,
 * USAGE when the file can't be read, INTERNAL. */
int app_check_main(int argc, char **argv);

#endif
