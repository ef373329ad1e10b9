/* Any bytes as a configuration: no crash, no leak, a mistake with every refusal. */
#include "app/config.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_report report;
    struct settings *settings = NULL;
    config_report_init(&report, STR("/nonexistent/fuzz.yaml"));
    int err = config_parse(&settings, str_make(data, size), NULL, &report);
    ASSERT(err == 0 || err == ERR_SYNTAX);
    ASSERT((err == 0) == (report.mistakes == 0));

    struct buf text = {0};
    config_report_lines(&report, &text);
    config_report_json(&report, &text);
    ASSERT(buf_err(&text) == 0);
    buf_fini(&text);
    config_report_fini(&report);
    if (!err) {
        settings_unref(settings);
    }
    return 0;
}
