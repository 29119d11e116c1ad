/* Options at the wrong time or on the wrong side. */
#include "check.h"

static int set(int fd, int option, uint32_t value)
{
    return setsockopt(fd, IPPROTO_PGM, option, &value, sizeof(value));
}

int main(void)
{
    struct pgm_send_window window = {1000, 0, 0};
    struct pgm_sender_stats sent;
    struct pgm_receiver_stats received;
    socklen_t len;

    begin(20);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "hello");
    int accepted = session(rx);

    /* A running sender's window is fixed. */
    FAILS(setsockopt(tx, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)), EISCONN);
    FAILS(set(tx, RM_LATEJOIN, 10), EISCONN);
    FAILS(set(tx, RM_SET_MCAST_TTL, 1), EISCONN);
    FAILS(set(tx, RM_SET_SEND_IF, htonl(INADDR_LOOPBACK)), EISCONN);

    /* Statistics of the other side. */
    len = sizeof(received);
    FAILS(getsockopt(tx, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &received, &len), EINVAL);
    len = sizeof(received);
    FAILS(getsockopt(rx, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &received, &len), EINVAL);
    len = sizeof(sent);
    FAILS(getsockopt(accepted, IPPROTO_PGM, RM_SENDER_STATISTICS, &sent, &len), EINVAL);
    len = sizeof(sent);
    FAILS(getsockopt(rx, IPPROTO_PGM, RM_SENDER_STATISTICS, &sent, &len), EINVAL);

    /* Statistics cannot be set. */
    FAILS(setsockopt(tx, IPPROTO_PGM, RM_SENDER_STATISTICS, &sent, sizeof(sent)), ENOPROTOOPT);
    FAILS(setsockopt(accepted, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &received, sizeof(received)),
          ENOPROTOOPT);

    /* Libraries add and delete the receive interface on accepted sockets too: it must succeed. */
    OK(set(accepted, RM_ADD_RECEIVE_IF, htonl(INADDR_LOOPBACK)));
    OK(set(accepted, RM_DEL_RECEIVE_IF, htonl(INADDR_LOOPBACK)));
    EXPECT_TEXT(accepted, "hello");
    return 0;
}
