/*
 * Every option of the table in options.inc: its number, its default, what getsockopt and setsockopt say
 * to any length and value at the bounds, and in which states it may be set or read.
 */
#include "check.h"
#include <netinet/tcp.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

enum type { NOTHING, NUMBER, BOOLEAN, ADDRESS, STRUCTURE, INT, OCTET, OTHER };
enum can { SET = 1, GET = 2 };
enum phases {
    ANY,
    UNCONNECTED,
    SENDING,
    SENDER,
    RECEIVER,
    RECEIVER_OR_SESSION,
    CONNECTED,
    ACCEPTED,
    RUNNING,
    SERVED
};
enum state { FRESH, BOUND_SENDER, BOUND_RECEIVER, LISTENING, CONNECTED_SENDER, SESSION, STATES };

/* What a call in this state fails with; 0: nothing. */
static const int expected[][STATES] = {
    [ANY] = {0},
    [UNCONNECTED] = {[LISTENING] = EISCONN, [CONNECTED_SENDER] = EISCONN, [SESSION] = EISCONN},
    [SENDING] = {[LISTENING] = EINVAL, [SESSION] = EINVAL},
    [SENDER] = {[LISTENING] = EINVAL, [CONNECTED_SENDER] = EISCONN, [SESSION] = EINVAL},
    [RECEIVER] = {[LISTENING] = EISCONN, [CONNECTED_SENDER] = EINVAL, [SESSION] = EISCONN},
    [RECEIVER_OR_SESSION] = {[LISTENING] = EISCONN, [CONNECTED_SENDER] = EINVAL},
    [CONNECTED] = {ENOTCONN, ENOTCONN, ENOTCONN, EINVAL, 0, EINVAL},
    [ACCEPTED] = {ENOTCONN, ENOTCONN, ENOTCONN, EINVAL, EINVAL, 0},
    [RUNNING] = {ENOTCONN, ENOTCONN, ENOTCONN, ENOTCONN, 0, 0},
    [SERVED] = {ENOTCONN, ENOTCONN, ENOTCONN, 0, 0, 0},
};

static const struct row {
    int level, number, code;
    const char *name;
    enum type type;
    socklen_t size;
    int can;
    enum phases phases;
    uint32_t least, most;
    const char *initial;
} rows[] = {
#define ROW(level, symbol, number, type, size, can, phases, least, most, initial) \
    {level, symbol, number, #symbol, type, size, can, phases, least, most, initial},
#include "options.inc"
};

static int fds[STATES];

/* A value that may be set at any time. */
static socklen_t sample(const struct row *row, void *value)
{
    static const struct pgm_fec_info fec = {255, 0, 8, 1};
    socklen_t len = 256;
    uint32_t word = row->level == IPPROTO_PGM && row->type == NUMBER ? row->least : 0;

    if (row->number == RM_USE_FEC && row->level == IPPROTO_PGM) {
        memcpy(value, &fec, sizeof(fec));
        return sizeof(fec);
    }
    if (row->type == ADDRESS)
        word = htonl(INADDR_LOOPBACK);
    if (row->type != STRUCTURE) {
        memcpy(value, &word, sizeof(word));
        return sizeof(word);
    }
    OK(getsockopt(fds[FRESH], row->level, row->number, value, &len));
    return len;
}

static int set_word(const struct row *row, uint32_t word)
{
    return setsockopt(fds[FRESH], row->level, row->number, &word, sizeof(word));
}

static uint32_t get_word(const struct row *row)
{
    uint32_t word = 0xdeadbeef;
    socklen_t len = sizeof(word);

    OK(getsockopt(fds[FRESH], row->level, row->number, &word, &len));
    EQUAL(len, sizeof(word));
    return word;
}

/* A new socket says what the table promises. */
static void check_default(const struct row *row)
{
    uint8_t value[256];
    socklen_t len = sizeof(value);
    char *text = (char *)row->initial;
    unsigned count = 1, i;

    /* Who runs the tests may give them ports of their own. */
    if (*text == '\0' || (row->number == PGM_UDP_ENCAP && getenv("PGM_UDP_ENCAP") != NULL))
        return;
    OK(getsockopt(fds[FRESH], row->level, row->number, value, &len));
    EQUAL(len, row->size);
    for (char *comma = text; (comma = strchr(comma, ',')) != NULL; comma++)
        count++;
    /* RM_USE_FEC is the one whose members differ in size; it is all zero. */
    unsigned width = len % count == 0 ? len / count : 1;
    for (i = 0; i < count; i++, text += strspn(text, ", ")) {
        uint32_t word = 0;
        memcpy(&word, value + i * width, width);
        EQUAL(word, strtoul(text, &text, 10));
    }
}

static void check_lengths(const struct row *row)
{
    uint8_t value[256], whole[256];
    socklen_t len, full = sizeof(whole);
    int fd = fds[row->phases == ACCEPTED ? SESSION : row->phases >= CONNECTED ? CONNECTED_SENDER : FRESH];

    if (row->can & GET) {
        /* What fits is copied, and its length told. Counters may move: then they are as they are right after. */
        OK(getsockopt(fd, row->level, row->number, whole, &full));
        for (socklen_t room = 0; room <= full; room += room < 4 ? 1 : full) {
            memset(value, 0xee, sizeof(value));
            len = room;
            OK(getsockopt(fd, row->level, row->number, value, &len));
            EQUAL(len, room < full ? room : full);
            if (memcmp(value, whole, len) != 0) {
                full = sizeof(whole);
                OK(getsockopt(fd, row->level, row->number, whole, &full));
                EQUAL(memcmp(value, whole, len), 0);
            }
            EQUAL(value[len], 0xee);
        }
        FAILS(getsockopt(fd, row->level, row->number, value, (socklen_t *)8), EFAULT);
        len = sizeof(value);
        FAILS(getsockopt(fd, row->level, row->number, (void *)8, &len), EFAULT);
        len = (socklen_t)-1;
        FAILS(getsockopt(fd, row->level, row->number, value, &len), EINVAL);
    }
    if (row->can & SET && row->type != OTHER) {
        memset(value, 0, sizeof(value));
        FAILS(setsockopt(fds[FRESH], row->level, row->number, value, 0), EINVAL);
        if (row->type != OCTET)
            FAILS(setsockopt(fds[FRESH], row->level, row->number, value, 3), EINVAL);
        if (row->level == IPPROTO_PGM)
            FAILS(setsockopt(fds[FRESH], row->level, row->number, value, 100), EINVAL);
        FAILS(setsockopt(fds[FRESH], row->level, row->number, NULL, 4), EFAULT);
        FAILS(setsockopt(fds[FRESH], row->level, row->number, (void *)8, 4), EFAULT);
    }
}

static void check_range(const struct row *row)
{
    uint64_t wide = row->least;

    if (row->type == BOOLEAN) {
        OK(set_word(row, 7));
        EQUAL(get_word(row), 1);
        OK(set_word(row, 0));
        EQUAL(get_word(row), 0);
    }
    if (row->type != NUMBER || row->number == RM_SENDER_WINDOW_ADVANCE_METHOD)
        return;
    OK(set_word(row, row->most));
    if (row->can & GET)
        EQUAL(get_word(row), row->most);
    if (row->least > 0)
        FAILS(set_word(row, row->least - 1), EINVAL);
    if (row->most < UINT32_MAX)
        FAILS(set_word(row, row->most + 1), EINVAL);
    if (row->can & GET)
        EQUAL(get_word(row), row->most);
    /* unsigned long. */
    OK(setsockopt(fds[FRESH], row->level, row->number, &wide, sizeof(wide)));
    if (row->can & GET)
        EQUAL(get_word(row), row->least);
    wide |= 1ull << 32;
    FAILS(setsockopt(fds[FRESH], row->level, row->number, &wide, sizeof(wide)), EINVAL);
}

static void check_states(const struct row *row)
{
    uint8_t value[256];
    socklen_t len = row->can & SET ? sample(row, value) : 4;

    for (int state = 0; state < STATES; state++) {
        int error = expected[row->phases][state];
        const char *call = "setsockopt";
        socklen_t room = sizeof(value);

        errno = 0;
        if (row->can & SET) {
            setsockopt(fds[state], row->level, row->number, value, len);
        } else {
            call = "getsockopt";
            getsockopt(fds[state], row->level, row->number, value, &room);
        }
        if (errno != error)
            FAIL("%s of %s in state %d: %s, expected %s", call, row->name, state, errno_text(errno),
                 errno_text(error));
    }
}

int main(void)
{
    struct sockaddr_in any = address("0.0.0.0", 0), receiver = group(1);

    begin(30);
    fds[FRESH] = pgm_socket(0);
    fds[BOUND_SENDER] = pgm_socket(0);
    fds[BOUND_RECEIVER] = pgm_socket(0);
    OK(bind(fds[BOUND_SENDER], SA(any), sizeof(any)));
    OK(bind(fds[BOUND_RECEIVER], SA(receiver), sizeof(receiver)));
    fds[LISTENING] = listener(0);
    fds[CONNECTED_SENDER] = sender(0);
    send_text(fds[CONNECTED_SENDER], "hello");
    fds[SESSION] = session(fds[LISTENING]);

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        check_default(&rows[i]);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const struct row *row = &rows[i];
        uint8_t value[256] = {0};
        socklen_t len = sizeof(value);
        int privileged = row->number == SO_MARK && row->level == SOL_SOCKET;

        EQUAL(row->number, row->code);
        if (!(row->can & SET))
            FAILS(setsockopt(fds[FRESH], row->level, row->number, value, 4), ENOPROTOOPT);
        if (!(row->can & GET))
            FAILS(getsockopt(fds[FRESH], row->level, row->number, value, &len), ENOPROTOOPT);
        if (row->type == NOTHING || row->type == OTHER || privileged)
            continue;
        check_lengths(row);
        check_range(row);
        check_states(row);
    }
    EXPECT_TEXT(fds[SESSION], "hello");
    return 0;
}
