/* A child made without fork handlers has no engine: its calls fail at once and never wait for one. */
#include "check.h"

int main(void)
{
    struct sockaddr_in a = group(1);
    struct pgm_sender_stats stats;
    socklen_t len = sizeof(stats);
    int status;

    begin(30);
    int rx = listener(0), tx = sender(0);
    sleep_ms(500); /* nobody is inside malloc */
    pid_t pid = (pid_t)OK(_Fork());
    if (pid == 0) {
        alarm(5);
        signal(SIGALRM, SIG_DFL);
        int fd = socket(AF_INET, SOCK_RDM, protocol());
        if (fd != -1 && (connect(fd, SA(a), sizeof(a)) != -1 || errno != EIO))
            _exit(1);
        getsockopt(tx, IPPROTO_PGM, RM_SENDER_STATISTICS, &stats, &len);
        _exit(0);
    }
    EQUAL(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        FAIL("the child was ended by signal %d", WTERMSIG(status));
    EQUAL(WEXITSTATUS(status), 0);
    /* The parent notices nothing. */
    send_text(tx, "still here");
    EXPECT_TEXT(session(rx), "still here");
    return 0;
}
