// Tables that are written to as fast as it goes, and who reads them meanwhile.

import { arrived } from './arrived.ts'
import { Child } from './child.ts'
import type { Cluster } from './cluster.ts'
import { TRIGGERS, type Trigger } from './triggers.ts'

/** Of each table that has any. */
export const CLIENTS = 10
/** Milliseconds between two reads by hand: what ours has under load. */
export const PAUSE = 20

export interface Written { rows: number, last: string }

/** A table that is written to. */
export class Side {
  readonly url: string

  /** Nobody reads it. */
  static async with (cluster: Cluster, trigger: Trigger): Promise<Side> {
    return new Side(await tableWith(cluster, trigger))
  }

  constructor (url: string) {
    this.url = url
  }

  /** Who reads it. */
  get serving (): { node: Child, receivers?: Child, clients: number } | undefined {
    return undefined
  }

  /** Resolves once it is as it should be for a round. */
  async begin (): Promise<void> {}

  /** Resolves once nobody has anything left to do for what was written: how many rows each client got of it, if there are any. */
  async catchUp (_written: Written): Promise<number | null> {
    return null
  }
}

/** Somebody hears the row trigger, and does nothing with it. */
export class Bystander extends Side implements AsyncDisposable {
  readonly #child: Child
  #heard = 0

  static async start (cluster: Cluster): Promise<Bystander> {
    const url = await tableWith(cluster, 'row trigger')
    return new Bystander(url, await Child.start('sides/bystander.ts', url))
  }

  private constructor (url: string, child: Child) {
    super(url)
    this.#child = child
  }

  override async catchUp ({ rows }: Written): Promise<null> {
    this.#heard += rows
    await this.#child.ask('heard', this.#heard)
    return null
  }

  [Symbol.asyncDispose] (): Promise<void> {
    return this.#child[Symbol.asyncDispose]()
  }
}

/** A node without clients. */
export class Unwatched extends Side implements AsyncDisposable {
  readonly #node: Child

  static async start (cluster: Cluster): Promise<Unwatched> {
    const { url } = await cluster.database('unwatched')
    const node = await Child.start('sides/ours.ts', url)
    await node.ask('doorbell', 'off')
    return new Unwatched(url, node)
  }

  private constructor (url: string, node: Child) {
    super(url)
    this.#node = node
  }

  override get serving () {
    return { node: this.#node, clients: 0 }
  }

  [Symbol.asyncDispose] (): Promise<void> {
    return this.#node[Symbol.asyncDispose]()
  }
}

/** A process that serves clients. */
abstract class Serving extends Side implements AsyncDisposable {
  protected readonly node: Child
  protected readonly receivers: Child
  /** At each client, so far. */
  protected rows = 0

  constructor (url: string, node: Child, receivers: Child) {
    super(url)
    this.node = node
    this.receivers = receivers
  }

  override get serving () {
    return { node: this.node, receivers: this.receivers, clients: CLIENTS }
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.node[Symbol.asyncDispose]()
    await this.receivers[Symbol.asyncDispose]()
  }
}

export class Watched extends Serving {
  static async start (cluster: Cluster): Promise<Watched> {
    const { url } = await cluster.database('watched')
    const node = await Child.start('sides/ours.ts', url)
    return new Watched(url, node, await connect(node))
  }

  override begin (): Promise<void> {
    return this.node.ask('doorbell', 'armed')
  }

  override async catchUp ({ rows }: Written): Promise<number> {
    this.rows += rows
    await arrived(this.receivers, Array(CLIENTS).fill(this.rows))
    return rows
  }
}

export class ByHand extends Serving {
  static async start (cluster: Cluster): Promise<ByHand> {
    const url = await tableWith(cluster, 'empty trigger', 'by_hand')
    const node = await Child.start('sides/hand-made.ts', 'raw', url, String(PAUSE))
    return new ByHand(url, node, await connect(node))
  }

  override begin (): Promise<void> {
    return this.node.ask('active', true)
  }

  override async catchUp ({ last }: Written): Promise<number> {
    const before = this.rows
    this.rows = await this.node.ask('reached', last)
    await arrived(this.receivers, Array(CLIENTS).fill(this.rows))
    await this.node.ask('active', false)
    return this.rows - before
  }
}

async function connect (node: Child): Promise<Child> {
  const receivers = await Child.start('support/receivers.ts')
  await receivers.ask('connect', await node.ask('port'), Array(CLIENTS).fill('/logs/stream'))
  return receivers
}

async function tableWith (cluster: Cluster, trigger: Trigger, name: string = trigger): Promise<string> {
  const { url, sql } = await cluster.database(name.replaceAll(' ', '_'))
  await sql.unsafe(TRIGGERS[trigger])
  return url
}
