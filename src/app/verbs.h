/* Verbs that need no running gateway. argv[0] is the verb; each returns an enum exit_code. */
#ifndef TIDEGATE_APP_VERBS_H
#define TIDEGATE_APP_VERBS_H

/* Makes an API key and prints it with the hash to configure. */
int app_key_main(int argc, char **argv);

/* Mints a test token with the HS256 secret of an app. */
int app_token_main(int argc, char **argv);

/* Lists the alert rules. */
int app_alerts_main(int argc, char **argv);

#endif
