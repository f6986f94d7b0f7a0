// Messages between ranks and sums over ranks, without the interpreter. Host only.
// MPI comes as function pointers, so that any MPI library will do and no mpi.h is needed. A handle is a word of the size of a
// pointer: that of Open MPI and of the MPI ABI is one, that of MPICH an int, which the calling conventions of 64-bit machines
// take from the low half of such a word. Each function returns MPI's error code, 0 for none, and leaves it in the struct.

typedef const void *Handle;

struct Messages {
    int (*start_all)(int count, void *requests);
    int (*wait_all)(int count, void *requests, void *statuses);
    void *requests, *statuses;
    int count, error;
};

extern "C" long start_messages(Messages *m) { return m->error = m->start_all(m->count, m->requests); }

extern "C" long finish_messages(Messages *m) { return m->error = m->wait_all(m->count, m->requests, m->statuses); }

struct Sum {
    int (*allgather)(const void *, int, Handle, void *, int, Handle, Handle);
    Handle real, communicator;
    double *values, *parts;  // parts: (ranks, count)
    int count, ranks, error;
};

// values[k] <- sum over ranks, added in their order, so that every rank has the same bits
extern "C" long sum_over_ranks(Sum *s) {
    s->error = s->allgather(s->values, s->count, s->real, s->parts, s->count, s->real, s->communicator);
    if (s->error) return s->error;
    for (int k = 0; k < s->count; k++) {
        double total = s->parts[k];
        for (long rank = 1; rank < s->ranks; rank++) total += s->parts[rank * s->count + k];
        s->values[k] = total;
    }
    return 0;
}

// ------------------------------------------------------------------------------------------------ in place
// Parts of a field that lie side by side in memory, sent from where they are and received where they belong.
struct Part {
    long offset;  // bytes from the beginning of the field
    int count, rank, tag, incoming;
};
struct Parts {
    int (*send)(const void *, int, Handle, int, int, Handle, void *);
    int (*receive)(void *, int, Handle, int, int, Handle, void *);
    int (*wait_all)(int count, void *requests, void *statuses);
    Handle real, communicator;
    char *field;
    const Part *parts;
    char *requests;
    void *statuses;
    int request_bytes, count, error;
};

// receives come first among the parts, so that no message has to wait for its place
extern "C" long start_parts(Parts *p) {
    p->error = 0;
    for (int k = 0; k < p->count && !p->error; k++) {
        const Part &part = p->parts[k];
        auto start = part.incoming ? p->receive : (decltype(p->receive))p->send;
        p->error = start(p->field + part.offset, part.count, p->real, part.rank, part.tag, p->communicator,
                         p->requests + (long)k * p->request_bytes);
    }
    return p->error;
}

extern "C" long finish_parts(Parts *p) { return p->error = p->wait_all(p->count, p->requests, p->statuses); }
