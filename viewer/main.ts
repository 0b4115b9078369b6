import { Viewer } from './viewer.ts'

const options = JSON.parse(document.querySelector<HTMLMetaElement>('meta[name=fastify-pg-tail]')!.content) as { stream: string, timeout: number, levels: string[] }

new Viewer(document.getElementById('viewer')!, options).show()
