/* RM_LATEJOIN: with a share of the window a late receiver gets what it missed, without one it does not. */
#include "check.h"

static int late_sender(int n, uint32_t percent)
{
    struct sockaddr_in a = group(n);
    int fd = pgm_socket(0);

    OK(setsockopt(fd, IPPROTO_PGM, RM_LATEJOIN, &percent, sizeof(percent)));
    OK(connect(fd, SA(a), sizeof(a)));
    return fd;
}

int main(void)
{
    char text[32];

    begin(60);
    /* Listening from the start, for comparison. */
    int early = listener(0);
    int full = late_sender(0, 75), none = late_sender(1, 0);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "old %d", i);
        send_text(full, text);
        send_text(none, text);
    }
    int fd = session(early);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "old %d", i);
        EXPECT_TEXT(fd, text);
    }
    /* Past the start of the session, when receivers are late ones. */
    sleep_ms(6000);
    int late = listener(0), too_late = listener(1);
    sleep_ms(200);
    send_text(full, "new");
    send_text(none, "new");
    /* Three quarters of the 21 messages in the window, without a gap. */
    fd = session(late);
    ssize_t n = OK(recv(fd, text, sizeof(text) - 1, 0));
    text[n] = 0;
    int first = -1;
    EQUAL(sscanf(text, "old %d", &first), 1);
    if (first < 4 || first > 7)
        FAIL("the late receiver begins with \"%s\"", text);
    for (int i = first + 1; i < 20; i++) {
        snprintf(text, sizeof(text), "old %d", i);
        EXPECT_TEXT(fd, text);
    }
    EXPECT_TEXT(fd, "new");
    fd = session(too_late);
    EXPECT_TEXT(fd, "new");
    return 0;
}
