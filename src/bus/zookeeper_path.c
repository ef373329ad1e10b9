#include "bus/zookeeper_path.h"

#include <stdio.h>

enum { NUMBER_BITS = 31, DIGITS = 10 };

const char *zk_name_queue(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue)
{
    snprintf(out, ZK_NODE_MAX, "%s/q%u", names->root, queue);
    return out;
}

const char *zk_name_bucket(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue,
                           uint32_t bucket)
{
    snprintf(out, ZK_NODE_MAX, "%s/q%u/b%010u", names->root, queue, bucket);
    return out;
}

const char *zk_name_record(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue,
                           uint32_t bucket, uint64_t number)
{
    snprintf(out, ZK_NODE_MAX, "%s/q%u/b%010u/e%010llu", names->root, queue, bucket,
             (unsigned long long)number);
    return out;
}

const char *zk_name_new_record(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue,
                               uint32_t bucket)
{
    snprintf(out, ZK_NODE_MAX, "%s/q%u/b%010u/e", names->root, queue, bucket);
    return out;
}

const char *zk_name_cleaner(char out[ZK_NODE_MAX], const struct zk_names *names)
{
    snprintf(out, ZK_NODE_MAX, "%s/cleaner", names->root);
    return out;
}

bool zk_name_number(struct str name, char prefix, uint64_t *out_number)
{
    if (name.len != DIGITS + 1 || name.ptr[0] != prefix) {
        return false;
    }
    return str_to_u64(str_make(name.ptr + 1, DIGITS), INT32_MAX, out_number);
}

struct bus_pos zk_pos(uint32_t bucket, uint64_t number)
{
    return (struct bus_pos){(uint64_t)bucket << NUMBER_BITS | (number + 1), 0};
}

struct bus_pos zk_pos_before(uint32_t bucket, uint64_t number)
{
    return (struct bus_pos){(uint64_t)bucket << NUMBER_BITS | number, 0};
}

uint64_t zk_creates(int32_t cversion, int32_t children)
{
    int64_t changes = (int64_t)cversion + children;
    return changes > 0 ? (uint64_t)changes / 2 : 0;
}

static const char *segment_problem(struct str segment)
{
    if (segment.len == 0) {
        return "has an empty segment, or a slash at its end";
    }
    if (str_equal(segment, STR(".")) || str_equal(segment, STR(".."))) {
        return "has a segment \".\" or \"..\"";
    }
    for (size_t i = 0; i < segment.len; i++) {
        unsigned char c = (unsigned char)segment.ptr[i];
        if (c < 0x20 || c >= 0x7f) {
            return "may hold printable ASCII only";
        }
    }
    return NULL;
}

bool zk_path_check(struct str path, const char **out_problem)
{
    *out_problem = NULL;
    if (path.len < 2 || path.ptr[0] != '/') {
        *out_problem = "must begin with a slash and name a node below the root";
    } else if (path.len > ZK_ROOT_MAX) {
        *out_problem = "is longer than 256 bytes";
    } else if (str_equal(path, STR("/zookeeper")) || str_starts_with(path, STR("/zookeeper/"))) {
        *out_problem = "is ZooKeeper's own";
    }
    struct str rest = str_make(path.ptr + 1, path.len - 1);
    struct str segment;
    while (!*out_problem && str_split(&rest, '/', &segment)) {
        *out_problem = segment_problem(segment);
    }
    return !*out_problem;
}
