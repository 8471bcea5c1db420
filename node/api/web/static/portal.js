// What scripts add to the portal's pages. Every page works without it, by links and forms.
(() => {
  'use strict'

  const KEPT = 24 // pictures kept in memory: an old phone has little of it
  const ZOOMS = [1, 1.5, 2, 3, 4, 6]
  const SWIPE = 24 // pixels of a drag for one image
  const DOUBLE_TAP = 300 // milliseconds

  // --- The viewer: images of a series one after another, by keys, wheel, slider and touch

  class Viewer {
    constructor(root) {
      this.root = root
      this.stage = root.querySelector('[data-stage]')
      this.image = this.stage.querySelector('img')
      this.slide = root.querySelector('[data-slide]')
      this.count = root.querySelector('[data-count]')
      this.wait = this.stage.querySelector('[data-wait]')
      this.total = Number(root.dataset.total)
      this.at = Number(root.dataset.at)
      this.look = root.dataset.look
      this.kept = new Map()
      this.zoom = 0
      this.x = this.y = 0
      this.pointers = new Map()
      this.travel = 0
      this.tapped = 0
      this.root.querySelectorAll('[data-script]').forEach((piece) => { piece.hidden = false })
      this.listen()
      this.ahead()
    }

    address(number) {
      const size = Math.max(this.stage.clientWidth, this.stage.clientHeight) * Math.min(window.devicePixelRatio || 1, 2)
      const query = new URLSearchParams({ size: size > 700 ? '1024' : '512' })
      if (this.look) query.set('look', this.look)
      return `${this.root.dataset.images}/${number}?${query}`
    }

    load(number) {
      const address = this.address(number)
      let found = this.kept.get(address)
      if (!found) {
        found = new Image()
        found.src = address
      }
      this.kept.delete(address)
      this.kept.set(address, found)
      if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value)
      return found
    }

    async show(number) {
      this.at = Math.min(Math.max(number, 1), this.total)
      const wanted = this.at
      const words = this.root.dataset.words.replace('{number}', wanted)
      if (this.slide) this.slide.value = wanted
      if (this.count) this.count.textContent = words
      this.remember()
      const found = this.load(wanted)
      const slow = setTimeout(() => { this.wait.hidden = false }, 150)
      try {
        await found.decode()
      } catch {
        if (wanted === this.at) this.image.alt = this.root.dataset.broken
      }
      clearTimeout(slow)
      if (wanted !== this.at) return // another one was asked for meanwhile
      this.wait.hidden = true
      this.image.src = found.src
      this.image.alt = words
      this.ahead()
    }

    ahead() {
      for (const number of [this.at + 1, this.at - 1, this.at + 2]) {
        if (number >= 1 && number <= this.total) this.load(number)
      }
    }

    remember() {
      const query = new URLSearchParams({ image: this.at })
      if (this.look) query.set('look', this.look)
      history.replaceState(null, '', `?${query}`)
    }

    step(by) {
      if (this.at + by >= 1 && this.at + by <= this.total) this.show(this.at + by)
    }

    scale(by) {
      this.zoom = Math.min(Math.max(this.zoom + by, 0), ZOOMS.length - 1)
      if (this.zoom === 0) this.x = this.y = 0
      this.place()
    }

    place() {
      const factor = ZOOMS[this.zoom]
      const most = (length) => ((factor - 1) * length) / 2
      this.x = Math.min(Math.max(this.x, -most(this.stage.clientWidth)), most(this.stage.clientWidth))
      this.y = Math.min(Math.max(this.y, -most(this.stage.clientHeight)), most(this.stage.clientHeight))
      this.image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${factor})`
      this.stage.classList.toggle('pt-stage--zoomed', this.zoom > 0)
    }

    choose(link) {
      this.look = link.dataset.look
      this.root.querySelectorAll('[data-look]').forEach((one) => {
        if (one === link) one.setAttribute('aria-current', 'true')
        else one.removeAttribute('aria-current')
      })
      this.kept.clear()
      this.show(this.at)
    }

    listen() {
      const on = (selector, act) => this.root.querySelectorAll(selector).forEach((piece) => {
        piece.addEventListener('click', (event) => {
          event.preventDefault()
          act(piece)
        })
      })
      on('[data-step]', (piece) => this.step(Number(piece.dataset.step)))
      on('[data-zoom]', (piece) => this.scale(Number(piece.dataset.zoom)))
      on('a[data-look]', (piece) => this.choose(piece))
      if (this.slide) this.slide.addEventListener('input', () => this.show(Number(this.slide.value)))
      this.stage.addEventListener('wheel', (event) => this.wheel(event), { passive: false })
      document.addEventListener('keydown', (event) => this.key(event))
      this.stage.addEventListener('pointerdown', (event) => this.down(event))
      this.stage.addEventListener('pointermove', (event) => this.move(event))
      for (const kind of ['pointerup', 'pointercancel']) {
        this.stage.addEventListener(kind, (event) => this.up(event))
      }
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return
      const keys = {
        ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1),
        PageDown: () => this.show(this.at + 10), PageUp: () => this.show(this.at - 10),
        Home: () => this.show(1), End: () => this.show(this.total),
        '+': () => this.scale(1), '=': () => this.scale(1), '-': () => this.scale(-1), 0: () => this.scale(-9),
      }
      if (!(event.key in keys)) return
      event.preventDefault()
      keys[event.key]()
    }

    wheel(event) {
      event.preventDefault()
      if (event.ctrlKey) this.scale(event.deltaY < 0 ? 1 : -1)
      else this.step(event.deltaY > 0 ? 1 : -1)
    }

    down(event) {
      this.stage.setPointerCapture(event.pointerId)
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY })
      this.travel = 0
      this.apart = this.spread()
    }

    move(event) {
      const before = this.pointers.get(event.pointerId)
      if (!before) return
      const moved = { x: event.clientX - before.x, y: event.clientY - before.y }
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY })
      if (this.pointers.size === 2) return this.pinch()
      if (this.zoom > 0) {
        this.x += moved.x
        this.y += moved.y
        return this.place()
      }
      this.travel += moved.x
      if (Math.abs(this.travel) >= SWIPE) {
        this.step(this.travel < 0 ? 1 : -1)
        this.travel = 0
        this.tapped = 0
      }
    }

    up(event) {
      this.pointers.delete(event.pointerId)
      if (event.type === 'pointercancel' || Math.abs(this.travel) > 4) return
      if (event.timeStamp - this.tapped < DOUBLE_TAP) this.scale(this.zoom > 0 ? -9 : 2)
      this.tapped = event.timeStamp
    }

    spread() {
      if (this.pointers.size !== 2) return 0
      const [one, other] = [...this.pointers.values()]
      return Math.hypot(one.x - other.x, one.y - other.y)
    }

    pinch() {
      const now = this.spread()
      if (!this.apart) this.apart = now
      if (now > this.apart * 1.25 || now < this.apart / 1.25) {
        this.scale(now > this.apart ? 1 : -1)
        this.apart = now
      }
    }
  }

  // --- Uploads: what was chosen is counted, and how much has gone

  function upload(form) {
    const bar = form.querySelector('progress')
    const words = form.querySelector('[data-progress-words]')
    const token = form.querySelector('input[name="csrf"]').value
    form.addEventListener('submit', async (event) => {
      const inputs = [...form.querySelectorAll('input[type="file"]')]
      const files = inputs.flatMap((input) => [...input.files])
      if (!files.length) return
      event.preventDefault()
      form.querySelector('button[type="submit"]').disabled = true
      bar.closest('[hidden]')?.removeAttribute('hidden')
      const total = files.reduce((sum, file) => sum + file.size, 0)
      let sent = 0
      for (const file of files) {
        const answer = await fetch(form.dataset.file, {
          method: 'POST', body: file, headers: { 'X-CSRF-Token': token, 'Content-Type': 'application/octet-stream' },
        }).catch(() => null)
        if (answer === null || (!answer.ok && answer.status !== 422)) {
          words.textContent = form.dataset.failed
          form.querySelector('button[type="submit"]').disabled = false
          return
        }
        sent += file.size
        bar.value = total ? sent / total : 1
        words.textContent = form.dataset.words.replace('{n}', Math.round(100 * bar.value))
      }
      inputs.forEach((input) => { input.value = '' })
      HTMLFormElement.prototype.submit.call(form)
    })
  }

  document.querySelectorAll('[data-viewer]').forEach((root) => new Viewer(root))
  document.querySelectorAll('form[data-upload]').forEach(upload)
  document.querySelectorAll('button[data-print]').forEach((button) => {
    button.hidden = false
    button.addEventListener('click', () => window.print())
  })
  document.querySelectorAll('button[data-copy]').forEach((button) => {
    button.hidden = false
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim())
      document.getElementById('live').textContent = button.dataset.done
    })
  })
})()
