/*
 * A peer linked to libpgm 5.3, in the configuration that performs best on Linux: non-blocking, one thread that
 * reads every few sends, no rate limit (the caller paces), short NAK intervals.
 *
 * Debian's 5.3.128 copies with aligned vector stores and dies on some alignments of the caller's buffer. With these
 * TPDU sizes a buffer 0 mod 16 survives when the message is one TPDU, and 4 mod 16 when it is fragmented. A receiver
 * must take what an Ethernet carries: larger packets than its own TPDU size it discards unseen.
 */
#include "pattern.h"

#include <arpa/inet.h>
#include <errno.h>
#include <execinfo.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pgm/pgm.h>

#define TPDU_UDP 1496
#define TPDU_NATIVE 1488
#define TPDU_RECEIVER 1500
#define PARITY_SUFFIX 2 /* its room in every packet, where parity may come */
#define READ_EVERY 32

static void die(const char *what, pgm_error_t *error)
{
	fprintf(stderr, "%s: %s\n", what, error ? error->message : strerror(errno));
	exit(1);
}

static void set(pgm_sock_t *sock, int level, int option, int value)
{
	if (!pgm_setsockopt(sock, level, option, &value, sizeof value)) {
		fprintf(stderr, "libpgm option %#x refused\n", option);
		exit(1);
	}
}

static pgm_sock_t *open_socket(const struct job *job, int sender)
{
	int protocol = job->udp ? IPPROTO_UDP : IPPROTO_PGM;
	const int heartbeat[] = { pgm_msecs(4), pgm_msecs(8), pgm_msecs(16), pgm_msecs(32), pgm_msecs(64),
				  pgm_msecs(128), pgm_msecs(256), pgm_msecs(512), pgm_secs(1) };
	struct pgm_addrinfo_t *where;
	struct pgm_sockaddr_t address = { .sa_port = (uint16_t)job->port, .sa_addr.sport = 0 };
	struct pgm_interface_req_t interface = { 0 };
	pgm_error_t *error = NULL;
	pgm_sock_t *sock;
	char network[128];

	snprintf(network, sizeof network, "%s;%s", job->interface, job->group);
	if (!pgm_getaddrinfo(network, NULL, &where, &error))
		die("pgm_getaddrinfo", error);
	if (!pgm_socket(&sock, AF_INET, SOCK_SEQPACKET, protocol, &error))
		die("pgm_socket", error);
	if (job->udp) {
		set(sock, IPPROTO_PGM, PGM_UDP_ENCAP_UCAST_PORT, job->udp);
		set(sock, IPPROTO_PGM, PGM_UDP_ENCAP_MCAST_PORT, job->udp);
	}
	set(sock, SOL_SOCKET, SO_RCVBUF, 4 << 20);
	set(sock, SOL_SOCKET, SO_SNDBUF, 4 << 20);
	set(sock, IPPROTO_PGM, PGM_IP_ROUTER_ALERT, 0);
	set(sock, IPPROTO_PGM, PGM_MTU,
	    !sender ? TPDU_RECEIVER : (job->udp ? TPDU_UDP : TPDU_NATIVE) + (job->fec ? PARITY_SUFFIX : 0));
	if (sender) {
		set(sock, IPPROTO_PGM, PGM_SEND_ONLY, 1);
		set(sock, IPPROTO_PGM, PGM_TXW_SQNS, 20000);
		set(sock, IPPROTO_PGM, PGM_AMBIENT_SPM, pgm_secs(1));
		if (!pgm_setsockopt(sock, IPPROTO_PGM, PGM_HEARTBEAT_SPM, heartbeat, sizeof heartbeat))
			die("PGM_HEARTBEAT_SPM", NULL);
		if (job->fec) {
			struct pgm_fecinfo_t fec = { .block_size = FEC_N, .group_size = (uint8_t)job->fec_k, .var_pktlen_enabled = true,
						     .ondemand_parity_enabled = job->fec == FEC_ON_DEMAND,
						     .proactive_packets =
							     job->fec == FEC_PRO_ACTIVE ? FEC_PRO_ACTIVE_PACKETS : 0 };

			if (!pgm_setsockopt(sock, IPPROTO_PGM, PGM_USE_FEC, &fec, sizeof fec))
				die("PGM_USE_FEC", NULL);
		}
	} else {
		set(sock, IPPROTO_PGM, PGM_RECV_ONLY, 1);
		set(sock, IPPROTO_PGM, PGM_PASSIVE, 0);
		set(sock, IPPROTO_PGM, PGM_RXW_SQNS, 20000);
		set(sock, IPPROTO_PGM, PGM_PEER_EXPIRY, pgm_secs(60));
		set(sock, IPPROTO_PGM, PGM_SPMR_EXPIRY, pgm_msecs(250));
		set(sock, IPPROTO_PGM, PGM_NAK_BO_IVL, pgm_msecs(2));
		set(sock, IPPROTO_PGM, PGM_NAK_RPT_IVL, pgm_msecs(20));
		set(sock, IPPROTO_PGM, PGM_NAK_RDATA_IVL, pgm_msecs(20));
		set(sock, IPPROTO_PGM, PGM_NAK_DATA_RETRIES, 50);
		set(sock, IPPROTO_PGM, PGM_NAK_NCF_RETRIES, 50);
	}
	if (!pgm_gsi_create_from_hostname(&address.sa_addr.gsi, &error))
		die("GSI", error);
	interface.ir_interface = where->ai_recv_addrs[0].gsr_interface;
	memcpy(&interface.ir_address, &where->ai_send_addrs[0].gsr_addr, sizeof(struct sockaddr_in));
	if (!pgm_bind3(sock, &address, sizeof address, &interface, sizeof interface, &interface, sizeof interface, &error))
		die("pgm_bind3", error);
	for (unsigned i = 0; i < where->ai_recv_addrs_len; i++)
		if (!pgm_setsockopt(sock, IPPROTO_PGM, PGM_JOIN_GROUP, &where->ai_recv_addrs[i],
				    sizeof(struct pgm_group_source_req)))
			die("PGM_JOIN_GROUP", NULL);
	if (!pgm_setsockopt(sock, IPPROTO_PGM, PGM_SEND_GROUP, &where->ai_send_addrs[0],
			    sizeof(struct pgm_group_source_req)))
		die("PGM_SEND_GROUP", NULL);
	set(sock, IPPROTO_PGM, PGM_MULTICAST_LOOP, !strncmp(job->interface, "127.", 4));
	set(sock, IPPROTO_PGM, PGM_MULTICAST_HOPS, 16);
	set(sock, IPPROTO_PGM, PGM_NOBLOCK, 1);
	if (!pgm_connect(sock, &error))
		die("pgm_connect", error);
	pgm_freeaddrinfo(where);
	return sock;
}

/* Let the library answer NAKs and run its timers: it has no thread of its own. */
static void serve(pgm_sock_t *sock)
{
	static unsigned char scrap[65536] __attribute__((aligned(64)));
	size_t got;

	if (pgm_recv(sock, scrap, sizeof scrap, MSG_DONTWAIT, &got, NULL) == PGM_IO_STATUS_ERROR)
		fprintf(stderr, "libpgm: pgm_recv failed while serving\n");
}

/* Wait until something arrives or `limit` seconds pass. */
static void wait_input(pgm_sock_t *sock, double limit)
{
	struct pollfd fds[PGM_BUS_SOCKET_READ_COUNT];
	int n = PGM_BUS_SOCKET_READ_COUNT;
	struct timeval remain;
	socklen_t length = sizeof remain;
	int ms = (int)(limit * 1000);

	if (pgm_getsockopt(sock, IPPROTO_PGM, PGM_TIME_REMAIN, &remain, &length)) {
		long timer = remain.tv_sec * 1000 + remain.tv_usec / 1000;

		if (timer < ms)
			ms = (int)timer;
	}
	memset(fds, 0, sizeof fds);
	pgm_poll_info(sock, fds, &n, POLLIN);
	poll(fds, (nfds_t)n, ms);
}

/* Say where the library died, then die of it: the evidence of whose failure it is. */
static void last_words(int number)
{
	void *frames[8];
	int n = backtrace(frames, 8);

	backtrace_symbols_fd(frames, n, STDERR_FILENO);
	signal(number, SIG_DFL);
	raise(number);
}

static int run_sender(const struct job *job)
{
	pgm_sock_t *sock = open_socket(job, 1);
	unsigned char *memory = aligned_alloc(64, (job->max + 128) & ~(size_t)63);
	int segment = 0;
	socklen_t length_of_segment = sizeof segment;
	unsigned long long octets = 0;
	double start, until;

	pgm_getsockopt(sock, IPPROTO_PGM, PGM_MSSS, &segment, &length_of_segment);
	start = seconds_now() + 0.3; /* SPMs first: this library has no answer to a lost first message */
	while (seconds_now() < start)
		serve(sock), wait_input(sock, 0.02);
	for (unsigned long i = 0; i < job->count; i++) {
		size_t length = message_length(job, i), sent;
		unsigned char *buffer = memory + (length > (size_t)segment ? 4 : 0);
		double give_up = seconds_now() + job->idle;

		if (job->verify || length < 8)
			message_fill(buffer, length, i);
		else
			memcpy(buffer, &(uint64_t){ i }, 8);
		pace_wait(job, start, i);
		while (pgm_send(sock, buffer, length, &sent) != PGM_IO_STATUS_NORMAL) {
			serve(sock);
			if (seconds_now() > give_up) {
				fprintf(stderr, "pgm_send stuck at message %lu\n", i);
				return 1;
			}
		}
		octets += length;
		if (job->pace > 0 || i % READ_EVERY == 0)
			serve(sock);
	}
	report("send", job->count, octets, seconds_now() - start, "sent", "");
	until = seconds_now() + job->linger_ms / 1000.0;
	while (seconds_now() < until)
		serve(sock), wait_input(sock, 0.001);
	pgm_close(sock, TRUE);
	return 0;
}

static int run_receiver(const struct job *job)
{
	enum { VECTORS = 64 };
	static struct pgm_msgv_t vectors[VECTORS];
	pgm_sock_t *sock = open_socket(job, 0);
	unsigned char *whole = malloc(job->max + 65536);
	unsigned long long octets = 0;
	unsigned long i = 0, resets = 0;
	double first = 0, last = seconds_now() + 20;
	const char *end = "complete";

	printf("{\"role\":\"recv\",\"ready\":true}\n");
	fflush(stdout);
	while (i < job->count) {
		size_t got = 0;
		pgm_error_t *error = NULL;
		int status = pgm_recvmsgv(sock, vectors, VECTORS, MSG_ERRQUEUE, &got, &error);

		if (status == PGM_IO_STATUS_RESET) {
			resets++;
			end = "reset";
			break;
		}
		if (error)
			pgm_error_free(error), error = NULL;
		if (status != PGM_IO_STATUS_NORMAL) {
			if (seconds_now() > last + job->idle) {
				end = "silent";
				break;
			}
			wait_input(sock, 0.02);
			continue;
		}
		last = seconds_now();
		if (!i)
			first = last;
		for (size_t v = 0; got > 0 && v < VECTORS; v++) {
			size_t length = 0;

			for (uint32_t s = 0; s < vectors[v].msgv_len; s++) {
				const struct pgm_sk_buff_t *skb = vectors[v].msgv_skb[s];

				memcpy(whole + length, skb->data, skb->len);
				length += skb->len;
			}
			if (length == 0 || length > got)
				break;
			got -= length;
			if (message_check(job, whole, length, i))
				return 1;
			octets += length;
			i++;
		}
	}
	report("recv", i, octets, last - first, end, "");
	pgm_close(sock, FALSE);
	return i == job->count && !resets ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct job job;
	pgm_error_t *error = NULL;
	int role = parse_job(argc, argv, &job);

	backtrace(&(void *){ NULL }, 1); /* loads what the handler needs */
	signal(SIGSEGV, last_words);
	signal(SIGABRT, last_words);
	if (!pgm_init(&error))
		die("pgm_init", error);
	return role == 's' ? run_sender(&job) : run_receiver(&job);
}
