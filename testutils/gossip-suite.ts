// What every implementation of Gossip must do. Members are opened by the implementation under test; the suite connects and closes them.
import { encodeUtf8 } from '../src/crypto/encoding.ts';
import { MESSAGE_BYTES_MAX, type Gossip, type Message, type Verdict } from '../src/gossip/gossip.ts';
import { type InboxLimits } from '../src/gossip/inbox.ts';
import { codeOfPromise } from './code-of.ts';
import { until } from './until.ts';

type OpenMember = (options?: { readonly limits?: Partial<InboxLimits> }) => Promise<Gossip>;

const TOPIC = 'test/topic';

/** Words that begin with "bad" are rejected, "old" ones ignored. */
function judge({ data }: Message): Verdict {
  const text = new TextDecoder().decode(data);
  if (text.startsWith('bad')) return 'reject';
  return text.startsWith('old') ? 'ignore' : 'accept';
}

interface Ear {
  readonly gossip: Gossip;
  readonly heard: string[];
  readonly judged: string[];
  readonly authors: Set<string>;
}

function listen(gossip: Gossip, verdict: (message: Message) => Verdict | Promise<Verdict> = judge): Ear {
  const ear: Ear = { gossip, heard: [], judged: [], authors: new Set() };
  gossip.subscribe(TOPIC, {
    validate(message) {
      ear.judged.push(new TextDecoder().decode(message.data));
      return verdict(message);
    },
    receive({ data, author }) {
      ear.heard.push(new TextDecoder().decode(data));
      ear.authors.add(author);
    },
  });
  return ear;
}

async function connect(from: Gossip, to: Gossip): Promise<void> {
  expect(await from.dial(to.addresses()[0]!)).toBe(to.id);
}

export function gossipSuite(name: string, openMember: OpenMember): void {
  describe(name, () => {
    const opened: Gossip[] = [];
    const open: OpenMember = async (options) => {
      const gossip = await openMember(options);
      opened.push(gossip);
      return gossip;
    };
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((gossip) => gossip.close()));
    });

    /** A line of members, each connected to the next, over which messages travel. */
    async function line(count: number, limits: Partial<InboxLimits> = {}): Promise<Ear[]> {
      const ears: Ear[] = [];
      for (let i = 0; i < count; i++) ears.push(listen(await open({ limits })));
      for (let i = 1; i < count; i++) await connect(ears[i]!.gossip, ears[i - 1]!.gossip);
      let round = 0;
      await until('the line carries messages', async () => {
        await ears[0]!.gossip.publish(TOPIC, encodeUtf8(`hello ${round++}`));
        return ears.at(-1)!.heard.length > 0;
      });
      return ears;
    }

    const say = (ear: Ear, text: string): Promise<number> => ear.gossip.publish(TOPIC, encodeUtf8(text));
    const hears = (ear: Ear, text: string): Promise<void> =>
      until(`"${text.slice(0, 40)}" is heard`, () => ear.heard.includes(text));
    const last = (ears: readonly Ear[]): Ear => ears.at(-1)!;

    it('carries a message over others, once, and says who published it', async () => {
      const ears = await line(3);
      await say(ears[0]!, 'news');
      await say(ears[0]!, 'more');
      await Promise.all([hears(ears[1]!, 'news'), hears(last(ears), 'news'), hears(last(ears), 'more')]);
      expect(last(ears).heard.filter((text) => text === 'news')).toHaveLength(1);
      expect([...last(ears).authors]).toEqual([ears[0]!.gossip.id]);
      expect(ears[0]!.heard).toEqual([]);
      expect(last(ears).gossip.figures().accepted).toBe(last(ears).heard.length);
    });

    it('hands on nothing that the one in the middle rejects or ignores', async () => {
      const [liar, middle, end] = (await line(3)) as [Ear, Ear, Ear];
      await say(liar, 'bad: forged');
      await say(liar, 'old: stale');
      await say(liar, 'the end');
      await hears(end, 'the end');
      await until('both were judged', () =>
        ['bad: forged', 'old: stale'].every((text) => middle.judged.includes(text)),
      );
      expect(end.judged.filter((text) => !text.startsWith('hello'))).toEqual(['the end']);
      expect(middle.gossip.figures()).toMatchObject({ rejected: 1, ignored: 1 });
    });

    it('takes a subscriber that throws for a rejection', async () => {
      const [a, b] = [listen(await open()), listen(await open(), () => Promise.reject(new Error('no')))];
      await connect(a.gossip, b.gossip);
      await until('a rejection', async () => {
        await say(a, 'x');
        return b.gossip.figures().rejected > 0;
      });
      expect(b.heard).toEqual([]);
    });

    it('drops and counts what is more than a neighbour may send, and recovers', async () => {
      const ears = await line(3, { rate: 50, burst: 20 });
      await Promise.all(Array.from({ length: 300 }, (_, i) => say(ears[0]!, `flood ${i}`)));
      await until('drops', () => ears[1]!.gossip.figures().dropped > 200);
      expect(last(ears).heard.filter((text) => text.startsWith('flood')).length).toBeLessThan(100);
      await until('a later message comes through', async () => {
        await say(ears[0]!, 'later');
        return last(ears).heard.includes('later');
      });
    });

    it('judges only so many messages at one time', async () => {
      const release: (() => void)[] = [];
      const slow = () => new Promise<Verdict>((resolve) => release.push(() => resolve('accept')));
      const [a, b] = [listen(await open()), listen(await open({ limits: { pendingMax: 5 } }), slow)];
      await connect(a.gossip, b.gossip);
      await until('drops', () => {
        void say(a, `x ${release.length}`);
        return b.gossip.figures().dropped > 0;
      });
      expect(release).toHaveLength(5);
      for (const free of release) free();
      await until('the five are heard', () => b.heard.length >= 5);
    });

    it('cuts off a neighbour that keeps sending what is false, and no other', async () => {
      const [liar, middle, honest] = (await line(3, { strikesMax: 4 })) as [Ear, Ear, Ear];
      for (let i = 0; i < 4; i++) await say(liar, `bad ${i}`);
      await until(
        'the liar is cut off',
        () => !middle.gossip.peers().some(({ id }) => id === liar.gossip.id),
      );
      expect(middle.gossip.figures().muted).toBe(1);
      await until('the liar does not come back', async () => {
        await liar.gossip.dial(middle.gossip.addresses()[0]!).catch(() => undefined);
        return !middle.gossip.peers().some(({ id }) => id === liar.gossip.id);
      });
      await say(honest, 'still here');
      await hears(middle, 'still here');
    });

    it('knows itself at its own address, and says when nobody answers', async () => {
      const gossip = await open();
      expect(await gossip.dial(gossip.addresses()[0]!)).toBe(gossip.id);
      expect(gossip.peers()).toEqual([]);
      const gone = await open();
      const [address] = gone.addresses();
      await gone.close();
      expect(await codeOfPromise(gossip.dial(address!))).toBe('unreachable');
    });

    it('tells of listeners, and forgets members that close', async () => {
      const [a, b] = [listen(await open()), listen(await open())];
      const told: string[] = [];
      a.gossip.onListener((id) => told.push(id));
      await connect(b.gossip, a.gossip);
      await until('the listener', () => told.includes(b.gossip.id));
      expect(a.gossip.peers().map(({ id }) => id)).toEqual([b.gossip.id]);
      await b.gossip.close();
      await until('it is gone', () => a.gossip.peers().length === 0);
    });

    it('carries the longest message, and nobody hears a topic that was left', async () => {
      const ears = await line(2);
      const long = 'x'.repeat(MESSAGE_BYTES_MAX);
      await say(ears[0]!, long);
      await hears(ears[1]!, long);
      const leave = ears[1]!.gossip.subscribe('other', {
        validate: () => 'accept',
        receive: () => undefined,
      });
      leave();
      await ears[0]!.gossip.publish('other', encodeUtf8('nobody listens'));
      await say(ears[0]!, 'done');
      await hears(ears[1]!, 'done');
      expect(ears[1]!.heard.filter((text) => text === 'nobody listens')).toEqual([]);
    });
  });
}
