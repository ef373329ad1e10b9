/* What a client of an event stream says: by requests of their own, which may reach another node.
 * Whatever is wrong with them is found before anything is done. */
#include "server/ws_protocol_private.h"
#include "server/ws_ticket.h"

struct survey {
    uint32_t frames;
    uint32_t hellos;
};

static bool survey_frame(struct survey *survey, struct json_value object)
{
    struct json_field fields[FIELDS];
    ws_protocol_name_fields(fields);
    if (object.type != JSON_TYPE_OBJECT || json_read_fields(object, fields, FIELDS, NULL) ||
        fields[F_T].value.type != JSON_TYPE_STRING) {
        return false;
    }
    survey->frames++;
    survey->hellos += json_equals(fields[F_T].value, STR("hello"));
    return true;
}

static bool survey_frames(struct survey *survey, struct json_value value)
{
    struct json_iter iter;
    struct json_value item;
    if (value.type != JSON_TYPE_ARRAY) {
        return survey_frame(survey, value);
    }
    json_iter_init(&iter, value);
    while (json_next(&iter, NULL, &item)) {
        if (!survey_frame(survey, item)) {
            return false;
        }
    }
    return survey->frames > 0;
}

static bool read_survey(struct survey *survey, const struct settings_limits *limits,
                        struct str text)
{
    struct json_value value;
    *survey = (struct survey){0};
    return json_parse(&value, text, (unsigned)limits->json_depth, NULL) == 0 &&
           survey_frames(survey, value);
}

bool ws_protocol_frames_are_sound(const struct settings_limits *limits, struct str text,
                                  bool *out_has_hello)
{
    struct survey survey;
    bool is_sound = read_survey(&survey, limits, text);
    *out_has_hello = is_sound && survey.hellos > 0;
    return is_sound;
}

static bool awaits_identity(const struct worker *worker, const struct session *session)
{
    return !(session->flags & WS_IS_GREETED) && !ws_protocol_is_identified(worker, session);
}

/* Whoever knows the id of an anonymous session has it from that session alone: it can't be guessed.
 * So whose credential comes with its hello says whose it is. */
static bool may_speak(const struct worker *worker, const struct session *session,
                      const struct ws_speaker *speaker)
{
    if (str_equal(shard_session_user(worker->shard, session), speaker->user)) {
        return true;
    }
    if (!awaits_identity(worker, session)) {
        return false;
    }
    const struct ws_ticket *ticket = ws_ticket_of(worker, session);
    return speaker->has_credential || (ticket && str_equal(str_of(ticket->user), speaker->user));
}

static bool is_gone(const struct session *session)
{
    return !session || session->state == SESSION_ENDED ||
           session->flags & (WS_IS_CLOSING | WS_IS_DOOMED);
}

/* One hello opens the session, alone; behind it none may come. */
static enum ws_up check_hello(const struct session *session, const struct survey *survey)
{
    if (session->flags & WS_IS_GREETED) {
        return survey->hellos == 0 ? WS_UP_TAKEN : WS_UP_BAD;
    }
    return survey->hellos == 1 && survey->frames == 1 ? WS_UP_TAKEN : WS_UP_EARLY;
}

static enum ws_up check_rate(struct worker *worker, struct session *session, uint32_t frames)
{
    const struct settings_limits *limits = ws_protocol_limits(worker);
    if (limits->messages_per_second && frames > limits->message_burst) {
        return WS_UP_MANY;
    }
    return ws_session_may_take(worker, session, frames) ? WS_UP_TAKEN : WS_UP_RATE;
}

static enum ws_up check(struct worker *worker, struct session *session, uint16_t app,
                        const struct ws_speaker *speaker, const struct survey *survey)
{
    if (is_gone(session) || session->app != app) {
        return WS_UP_GONE;
    }
    if (!may_speak(worker, session, speaker)) {
        return WS_UP_FOREIGN;
    }
    if (!ws_is_sse(session) || !(session->flags & WS_IS_V1)) {
        return WS_UP_DEAF;
    }
    enum ws_up verdict = check_hello(session, survey);
    return verdict == WS_UP_TAKEN ? check_rate(worker, session, survey->frames) : verdict;
}

/* As a connect that shows it. False: the session ends for it. */
static bool identify(struct worker *worker, struct session *session,
                     const struct ws_speaker *speaker)
{
    if (speaker->token.len > 0) {
        return ws_protocol_identify_by_token(worker, session, speaker->token);
    }
    struct credential credential = {
        .kind = CREDENTIAL_TRUSTED_HEADER, .user = speaker->user, .jti = STR("")};
    bool good = ws_protocol_identify(worker, session, &credential) == 0;
    if (!good) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
    return good;
}

enum ws_up ws_protocol_take_up(struct worker *worker, const struct sid *sid, uint16_t app,
                               const struct ws_speaker *speaker, struct str text)
{
    struct survey survey;
    struct session *session = shard_session_find(worker->shard, sid->slot, sid->generation);
    if (!read_survey(&survey, ws_protocol_limits(worker), text)) {
        return WS_UP_BAD;
    }
    enum ws_up verdict = check(worker, session, app, speaker, &survey);
    bool identifies = verdict == WS_UP_TAKEN && speaker->has_credential &&
                      awaits_identity(worker, session);
    if (verdict == WS_UP_TAKEN && (!identifies || identify(worker, session, speaker))) {
        if (ws_is_watched(worker, session)) {
            watch_note(worker, session, false, WS_TEXT, text);
        }
        ws_protocol_on_message(worker, session, WS_TEXT, text);
    }
    return verdict;
}
