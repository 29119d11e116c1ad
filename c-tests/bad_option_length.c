/* Option lengths: wrong ones are EINVAL; getsockopt with a short buffer copies what fits. */
#include "check.h"

int main(void)
{
    struct pgm_send_window window = {1000, 0, 0}, got;
    struct pgm_sender_stats stats;
    uint32_t value = 10;
    unsigned char bytes[200];
    socklen_t len;

    begin(20);
    int fd = pgm_socket(0);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, 0), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, 11), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, (socklen_t)-1), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_LATEJOIN, &value, 0), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_LATEJOIN, &value, 3), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_SET_MCAST_TTL, &value, 1), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_SET_SEND_IF, &value, 2), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_ADD_RECEIVE_IF, &value, 3), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_DEL_RECEIVE_IF, &value, 3), EINVAL);

    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    len = sizeof(got);
    OK(getsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &got, &len));
    EQUAL(len, 12);
    memset(&got, 0xee, sizeof(got));
    len = 4;
    OK(getsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &got, &len));
    EQUAL(got.rate_kbits_per_sec, 1000);
    EQUAL(got.window_size_in_msecs, 0xeeeeeeee);

    /* A longer buffer than needed is fine and its rest is left alone. */
    fd = sender(0);
    memset(bytes, 0xee, sizeof(bytes));
    len = sizeof(bytes);
    OK(getsockopt(fd, IPPROTO_PGM, RM_SENDER_STATISTICS, bytes, &len));
    EQUAL(len, sizeof(stats));
    EQUAL(bytes[sizeof(stats)], 0xee);
    len = (socklen_t)-1;
    FAILS(getsockopt(fd, IPPROTO_PGM, RM_SENDER_STATISTICS, bytes, &len), EINVAL);
    return 0;
}
