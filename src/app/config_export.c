#include "app/config_export.h"

#include "app/config_read.h"
#include "base/err.h"
#include "net/tls_context.h"

enum { HEADER_BYTES = 8192 };

/* RFC 9110 5.5: what may stand in a header, and does not vanish at its ends. */
static const char *check_value(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return "expected one line without control characters";
        }
    }
    return text.len > 0 && text.len <= HEADER_BYTES && str_trim(text).len == text.len
               ? NULL
               : "expected 1 to 8192 bytes, without white space at the ends";
}

void config_header_file_read(struct config_reader *reader, const struct config_key *key,
                             const struct config_node *node, void *object)
{
    struct settings_header *header = object;
    config_secret_file_take(reader, node, check_value, &header->value);
}

void config_header_value_read(struct config_reader *reader, const struct config_key *key,
                              const struct config_node *node, void *object)
{
    struct settings_header *header = object;
    bool is_text = node->kind == CONFIG_NODE_SCALAR && !node->is_null;
    const char *problem = is_text ? check_value(node->text) : "expected the value of a header";
    if (problem) {
        config_read_mistake(reader, node->place, "%s", problem);
        return;
    }
    reader->has_inline_secret = true;
    header->value = config_read_copy(reader, node->text);
}

/* What the exporter says itself. */
static bool is_ours(struct str name)
{
    static const char *const names[] = {"content-type", "content-length", "content-encoding",
                                        "host", "transfer-encoding"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_equal_nocase(name, str_of(names[i]))) {
            return true;
        }
    }
    return false;
}

void config_header_finish(struct config_reader *reader, const struct config_node *node,
                          void *object)
{
    const struct settings_header *header = object;
    bool has_file = config_tree_child(node, STR("file"));
    bool has_value = config_tree_child(node, STR("value"));
    if (has_file == has_value) {
        config_read_mistake(reader, node->place, "expected either \"file\" or \"value\"");
    }
    if (is_ours(header->name)) {
        config_read_mistake(reader, node->place, "\"%.*s\" is set by the gateway",
                            STR_ARG(header->name));
    }
}

static const char *accept(struct str text)
{
    return NULL;
}

void config_otlp_ca_read(struct config_reader *reader, const struct config_key *key,
                         const struct config_node *node, void *object)
{
    struct settings_otlp *otlp = object;
    const char *problem = NULL;
    config_file_take(reader, node, accept, &otlp->ca);
    int err = otlp->ca.len > 0 ? tls_authorities_check(otlp->ca, &problem) : 0;
    if (err == ERR_NO_MEMORY) {
        reader->err = err;
    } else if (err) {
        config_read_mistake(reader, node->place, "%s", problem);
    }
}

void config_otlp_finish(struct config_reader *reader, const struct config_node *node, void *object)
{
    const struct settings_otlp *otlp = object;
    bool is_plain = str_starts_with(otlp->url, STR("http:"));
    if (otlp->ca.len > 0 && is_plain) {
        config_read_mistake(reader, node->place, "\"ca\" needs a URL with https");
    }
    if (otlp->header_count > 0 && is_plain && !config_text_url.is_valid(otlp->url)) {
        config_read_warning(reader, node->place, "the headers go over the network in clear");
    }
}
