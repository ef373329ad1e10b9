/* `tidegate serve`: the gateway as a process. Signals, configuration, wiring. */
#ifndef TIDEGATE_APP_SERVE_H
#define TIDEGATE_APP_SERVE_H

/* argv[0] is "serve". Returns an enum exit_code once the gateway has ended. */
int app_serve_main(int argc, char **argv);

#endif
