/* Who has sessions here, for the count of distinct users over the cluster: each second, if somebody
 * has come or gone, and a slice of the table at a time, lest it holds up the others. */
#include "server/worker_private.h"

enum { EACH_MS = 1000, SLICE_MS = 20 };

static void run_tally(struct mail *mail)
{
    struct user_tally *tally = MAIL_OWNER(mail, struct user_tally, mail);
    struct worker *worker = tally->owner;
    cluster_take_tally(worker->gateway->cluster, tally);
}

static void send_tally(struct worker *worker, struct user_tally *tally)
{
    tally->owner = worker;
    tally->mail.run = run_tally;
    worker_send_to_hub(worker, &tally->mail);
}

static void on_timer(struct timer *timer)
{
    struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, users_timer));
    struct user_tally *tally;
    enum shard_tally state = shard_tally_users(worker->shard, &tally);
    if (state == SHARD_TALLY_DONE) {
        send_tally(worker, tally);
    }
    loop_timer_start(worker->loop, timer, state == SHARD_TALLY_MORE ? SLICE_MS : EACH_MS);
}

void worker_count_users(struct worker *worker)
{
    worker->users_timer.on_fire = on_timer;
    loop_timer_start(worker->loop, &worker->users_timer, EACH_MS);
}
