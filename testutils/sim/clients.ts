// Clients that add and read, one operation after the other, and do not give up: an operation that is not answered in time is sent
// again, to any member, until it is.
import type { Cluster } from './member.ts';

const MIN_PATIENCE = 60;
const MAX_PATIENCE = 250;

export class Client {
  readonly #id: number;
  readonly #cluster: Cluster;
  #number = 0;
  #stopped = false;
  /** An operation is under way. */
  busy = false;

  constructor(id: number, cluster: Cluster) {
    this.#id = id;
    this.#cluster = cluster;
  }

  /** Ends after the operation that is under way. */
  stop(): void {
    this.#stopped = true;
  }

  next(): void {
    const { world, checks } = this.#cluster;
    this.busy = false;
    if (this.#stopped) return;
    world.later(world.between(1, 30), () => {
      if (this.#stopped) return;
      this.busy = true;
      this.#number += 1;
      const begun = checks.begins();
      if (world.random.chance(0.7)) this.#add(this.#number, begun);
      else this.#read(this.#number, begun);
    });
  }

  #add(number: number, begun: number): void {
    const { checks } = this.#cluster;
    const request = { client: this.#id, number };
    this.#insist(
      (id, reply) => this.#cluster.members.get(id)?.add(request, reply),
      (version) => checks.added(`${this.#id}:${number}`, version, begun),
    );
  }

  #read(number: number, begun: number): void {
    let attempt = 0;
    this.#insist(
      (id, reply) => {
        attempt += 1;
        this.#cluster.members.get(id)?.read(`${this.#id}:${number}:${attempt}`, reply);
      },
      (size) => this.#cluster.checks.read(size, begun),
    );
  }

  /** Asks somebody, then somebody else, until the first answer; later ones are ignored, as a client would. */
  #insist(
    ask: (id: number, reply: (answer: number | undefined) => void) => void,
    accept: (answer: number) => void,
  ): void {
    const { world, members } = this.#cluster;
    let answered = false;
    const attempt = (): void => {
      if (answered) return;
      const id = world.random.pick([...members.keys()]);
      world.note(() => `client ${this.#id} asks ${id} for operation ${this.#number}`);
      this.#travel(() =>
        ask(id, (answer) =>
          this.#travel(() => {
            if (answered || answer === undefined) return;
            answered = true;
            world.note(() => `client ${this.#id} has ${answer} for operation ${this.#number}`);
            accept(answer);
            this.next();
          }),
        ),
      );
      world.later(world.between(MIN_PATIENCE, MAX_PATIENCE), attempt);
    };
    attempt();
  }

  /** The way between client and member is no better than the one between members. */
  #travel(arrive: () => void): void {
    const { world } = this.#cluster;
    if (!world.random.chance(world.network.loss)) world.later(world.between(0.2, 3), arrive);
  }
}
